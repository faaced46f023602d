//! What a store may be found to hold: the oracle of [`store_work`](super::store_work).
//!
//! A diary lists what one thread changed, in its order, and up to where the store has acknowledged it. After a crash a
//! fact has the value that it had at the last acknowledgement, or any that it was given since.

use std::collections::BTreeMap;

/// Something that a store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// A block, by its number in the diary.
    Block(usize),
    /// A head, by its number in the volume.
    Head(u64),
    /// A journal record, by its number in the volume.
    Delta(u64),
}

/// What it knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// It is not there.
    Absent,
    /// It is there, whole; the number tells one content from another.
    Is(u64),
    /// Either, and both are right: garbage, or a call that failed.
    Any,
}

/// What one thread did.
#[derive(Debug, Clone, Default)]
pub struct Diary {
    notes: Vec<(Fact, Value)>,
    acknowledged: Vec<Acknowledged>,
}

#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    upto: usize,
    /// What the device had seen by then.
    seen: u64,
}

impl Diary {
    /// So many changes.
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// A change that was made.
    pub fn note(&mut self, fact: Fact, value: Value) {
        self.notes.push((fact, value));
    }

    /// The first `upto` changes are durable, says the store; the device had seen so many requests.
    pub fn acknowledge(&mut self, upto: usize, seen: u64) {
        self.acknowledged.push(Acknowledged { upto, seen });
    }

    /// Compares what was found with what may be, on a device that has kept `kept` requests. Gives how many facts had to be
    /// as they are.
    pub fn judge(&self, found: &BTreeMap<Fact, Value>, kept: u64) -> Result<usize, String> {
        let acknowledged = self.acknowledged.iter().filter(|ack| ack.seen <= kept);
        let upto = acknowledged.map(|ack| ack.upto).max().unwrap_or(0);
        let mut possible: BTreeMap<Fact, Vec<Value>> = BTreeMap::new();
        for (fact, value) in &self.notes[..upto] {
            possible.insert(*fact, vec![*value]);
        }
        let promises = possible.values().filter(|values| values[0] != Value::Any).count();
        for (fact, value) in &self.notes[upto..] {
            possible.entry(*fact).or_insert_with(|| vec![Value::Absent]).push(*value);
        }
        for (fact, values) in &possible {
            let found = found.get(fact).copied().unwrap_or(Value::Absent);
            if !values.contains(&found) && !values.contains(&Value::Any) {
                return Err(format!(
                    "{fact:?} is {found:?} and can only be {values:?}, of {upto} acknowledged changes"
                ));
            }
        }
        match found.keys().find(|fact| !possible.contains_key(fact)) {
            Some(fact) => Err(format!("{fact:?} was never stored")),
            None => Ok(promises),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diary() -> Diary {
        let mut diary = Diary::default();
        diary.note(Fact::Block(0), Value::Is(0));
        diary.note(Fact::Head(1), Value::Is(7));
        diary.acknowledge(2, 10);
        diary.note(Fact::Head(1), Value::Absent);
        diary.note(Fact::Block(1), Value::Is(0));
        diary
    }

    #[test]
    fn what_was_acknowledged_must_be_there_and_the_rest_may() {
        let block = (Fact::Block(0), Value::Is(0));
        let head = (Fact::Head(1), Value::Is(7));
        let found = |facts: &[(Fact, Value)]| facts.iter().copied().collect();
        assert_eq!(diary().judge(&found(&[block, head]), 10), Ok(2));
        assert_eq!(diary().judge(&found(&[block]), 10), Ok(2));
        assert_eq!(diary().judge(&found(&[]), 9), Ok(0));
        assert!(diary().judge(&found(&[head]), 10).is_err());
        assert!(diary().judge(&found(&[block, (Fact::Head(1), Value::Is(8))]), 10).is_err());
        assert!(diary().judge(&found(&[block, head, (Fact::Block(2), Value::Is(0))]), 10).is_err());
    }
}
