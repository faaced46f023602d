//! Whether an acknowledgement stood on a sync that failed. What was written is still in memory then, so whoever looks
//! into the files afterwards finds it: only the order of calls can tell.

use std::collections::{HashMap, HashSet};

/// What a trace says so far.
#[derive(Default)]
struct Trace<'a> {
    /// Syncs that began and have not ended, by thread.
    begun: HashMap<&'a str, &'a str>,
    /// Segments that were synced once: their first sync is that of the header alone.
    in_use: HashSet<&'a str>,
    /// A segment whose sync failed, until another one was synced: the kernel forgets what it could not write, so the same
    /// one proves nothing any more.
    dead: Option<&'a str>,
}

/// The first acknowledgement in a trace of `fdatasync` and `writev`, with paths, that no sync stands behind.
pub fn unfounded(record: &str) -> Option<String> {
    let mut trace = Trace::default();
    record.lines().find_map(|line| trace.read(line).then(|| format!("{line} after a failed sync of {:?}", trace.dead)))
}

impl<'a> Trace<'a> {
    /// Takes a line. Whether it is an unfounded acknowledgement.
    fn read(&mut self, line: &'a str) -> bool {
        let Some((thread, call)) = line.split_once(' ') else { return false };
        let call = call.trim_start();
        if call.starts_with("fdatasync(") {
            let path = call.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path);
            if call.ends_with("<unfinished ...>") {
                self.begun.insert(thread, path);
            } else {
                self.ended(path, call);
            }
        } else if call.starts_with("<... fdatasync resumed>") {
            let path = self.begun.remove(thread).unwrap_or_default();
            self.ended(path, call);
        }
        let is_acknowledgement =
            call.starts_with("writev(") && [r#""s\n""#, r#""c\n""#].iter().any(|s| call.contains(s));
        is_acknowledgement && self.dead.is_some()
    }

    fn ended(&mut self, path: &'a str, call: &str) {
        if !path.ends_with(".seg") {
            return;
        }
        if call.rsplit_once(" = ").is_some_and(|(_, result)| result.trim() == "0") {
            self.dead = self.dead.filter(|dead| *dead == path);
            self.in_use.insert(path);
        } else if self.in_use.contains(path) {
            self.dead = Some(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str =
        "7 fdatasync(3</s/log/00000001.seg>) = 0\n7 fdatasync(3</s/log/00000001.seg>) = -1 EIO (INJECTED)\n";
    const ACK: &str = "7 writev(1<pipe:[1]>, [{iov_base=\"s\\n\", iov_len=2}], 1) = 2\n";

    #[test]
    fn an_acknowledgement_after_a_failed_sync_is_found() {
        assert!(unfounded(&format!("{START}{ACK}")).is_some());
        let again = "8 fdatasync(3</s/log/00000001.seg> <unfinished ...>\n8 <... fdatasync resumed>)      = 0\n";
        assert!(unfounded(&format!("{START}{again}{ACK}")).is_some(), "a second try proves nothing");
    }

    #[test]
    fn one_after_a_sync_elsewhere_is_founded() {
        let elsewhere =
            "8 fdatasync(4</s/log/00000002.seg> <unfinished ...>\n7 x\n8 <... fdatasync resumed>)      = 0\n";
        assert_eq!(unfounded(&format!("{START}{elsewhere}{ACK}")), None);
        assert_eq!(unfounded(ACK), None);
    }
}
