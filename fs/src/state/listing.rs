//! Listing a directory: the tree's names and the changed ones, merged in key order.
//!
//! A cookie is the name's 56-bit hash and its rank among names of equal hash, so it stays valid
//! whatever else is created or removed, at any size.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::slots::hash_of;
use super::*;
use crate::ops::{COOKIE_MIN, DirItem, Listing};
use cairn_block::entry::{Attr, DirKey, EntryError, FileType, MapRoot};

const RANK_BITS: u32 = 7;
/// Entries taken from the tree at a time.
const WINDOW: usize = 512;

/// A name on its way into a listing.
struct Name {
    key: Bytes,
    ino: Ino,
    kind: FileType,
    /// Of an entry that is as the tree has it.
    attr: Option<Attr>,
    /// The attributes are in the link table. Not looked at where only names are listed.
    linked: bool,
}

impl State {
    /// Up to `count_max` entries after `cookie`.
    pub(crate) fn readdir(&mut self, ino: Ino, cookie: u64, count_max: usize, listing: Listing) -> Step<Vec<DirItem>> {
        let hash = cookie >> RANK_BITS;
        let mut rank = 0;
        let mut last_hash = None;
        let mut from = Bound::Included(Bytes::copy_from_slice(&DirKey::first_with_hash(hash)));
        let mut items = Vec::new();
        loop {
            let (names, next) = self.window(ino, &from, WINDOW.min(count_max.saturating_add(2)), listing)?;
            for name in names {
                let hash = hash_of(&name.key);
                rank = if last_hash == Some(hash) { rank + 1 } else { 0 };
                last_hash = Some(hash);
                let own = hash << RANK_BITS | (rank + COOKIE_MIN).min((1 << RANK_BITS) - 1);
                if own <= cookie {
                    continue;
                }
                if items.len() == count_max {
                    return self.refer_all(ino, items, listing);
                }
                items.push((own, self.complete(name, listing)?));
            }
            match next {
                Some(next) => from = Bound::Excluded(next),
                None => return self.refer_all(ino, items, listing),
            }
        }
    }

    /// The merged names of one window of the tree; and where the next one starts, unless it was the last.
    fn window(
        &mut self,
        ino: Ino,
        from: &Bound<Bytes>,
        count: usize,
        listing: Listing,
    ) -> Step<(Vec<Name>, Option<Bytes>)> {
        let base: MapRoot = self.loaded_dir(ino)?.base.clone();
        let found = map_tree::range(&mut self.resident_nodes(), &base, from.as_ref().map(|b| &b[..]), count)?;
        let next = if found.len() < count { None } else { found.last().map(|(key, _)| key.clone()) };
        let to = next.clone().map_or(Bound::Unbounded, Bound::Included);
        // Before any reference is taken: a name that is none is shown to nobody.
        let in_tree = found.into_iter().map(|(key, value)| {
            let name = stored_name(key, &value, listing);
            name.map_err(|_| damaged(ino, base.root.as_ref()))
        });
        let in_tree = in_tree.collect::<Step<Vec<Name>>>()?;
        let dir = self.loaded_dir(ino)?;
        let layers = [dir.flushing.as_ref(), Some(&dir.changes)].into_iter().flatten();
        let changed: BTreeMap<Bytes, Change> = layers
            .flat_map(|changes| changes.range((from.clone(), to.clone())))
            .map(|(key, change)| (key.clone(), *change))
            .collect();
        if changed.is_empty() {
            return Ok((in_tree, next));
        }
        let mut names = Vec::with_capacity(in_tree.len() + changed.len());
        let mut in_tree = in_tree.into_iter().peekable();
        for (key, change) in changed {
            while let Some(name) = in_tree.next_if(|name| name.key < key) {
                names.push(name);
            }
            // What changed stands for what the tree has of this name.
            in_tree.next_if(|name| name.key == key);
            match change {
                Change::Gone => {}
                Change::Own(ino) => {
                    let kind = self.loaded(ino)?.attr.kind;
                    names.push(Name { key, ino, kind, attr: None, linked: false });
                }
                Change::Link(ino, kind) => names.push(Name { key, ino, kind, attr: None, linked: true }),
            }
        }
        names.extend(in_tree);
        Ok((names, next))
    }

    /// Adds the attributes, where they are asked for.
    fn complete(&mut self, name: Name, listing: Listing) -> Step<Name> {
        if listing == Listing::Names {
            return Ok(name);
        }
        if name.linked {
            match self.linked(name.ino) {
                // Listed without attributes: asking for this name says what is wrong, and its neighbours are sound.
                Err(Stop::Fs(_)) => return Ok(name),
                linked => linked?,
            }
        }
        let attr = match self.node(name.ino) {
            Some(node) => Some(node.stat()),
            None => name.attr,
        };
        Ok(Name { attr, ..name })
    }

    fn refer_all(&mut self, parent: Ino, names: Vec<(u64, Name)>, listing: Listing) -> Step<Vec<DirItem>> {
        let mut items = Vec::with_capacity(names.len());
        for (cookie, name) in names {
            let place = Place::Child { parent, hash: hash_of(&name.key) };
            // A number that is another entry's: as above, asking for the name says so.
            let is_taken = !name.linked && self.slots.get(&name.ino).is_some_and(|slot| slot.place != place);
            let attr = name.attr.filter(|_| listing == Listing::Referenced && !is_taken);
            if attr.is_some() {
                if !self.slots.contains_key(&name.ino) {
                    self.admit(name.ino, place, None);
                }
                self.refer(name.ino);
            }
            let shown = name.key.slice(DirKey::HASH_BYTES..);
            items.push(DirItem { ino: name.ino, cookie, name: shown, kind: name.kind, attr });
        }
        Ok(items)
    }
}

/// A name as the tree has it, with no more of its entry read than the listing shows.
fn stored_name(key: Bytes, value: &Bytes, listing: Listing) -> Result<Name, EntryError> {
    let key = DirKey::from_encoded(key)?.into_encoded();
    if listing == Listing::Names {
        let (ino, kind) = Entry::peek(value)?;
        return Ok(Name { key, ino, kind, attr: None, linked: false });
    }
    Ok(match Entry::decode(value)? {
        Entry::Own(record) => {
            let (ino, kind) = (record.attr.ino, record.attr.kind);
            Name { key, ino, kind, attr: Some(listed_attr(record)), linked: false }
        }
        Entry::Link { ino, kind } => Name { key, ino, kind, attr: None, linked: true },
    })
}

/// What stat shows of a record that is not in memory.
fn listed_attr(record: Record) -> Attr {
    match record.content {
        cairn_block::entry::Content::Dir(root) => Attr { size: root.count, ..record.attr },
        _ => record.attr,
    }
}
