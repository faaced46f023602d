//! What snapshots are called: by their time, and by their label.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_block::entry::check_name;
use cairn_block::{DeviceId, Head, Timestamp};

/// A head: its device and number.
pub(super) type HeadKey = (DeviceId, u64);

/// A name under `.snapshots`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// The snapshot's directory.
    Tree(HeadKey),
    /// A symbolic link to it: a directory can have one name only.
    Label(HeadKey),
}

/// All names. The first snapshot of a second is called by its time, those after it by time and number; whoever knows the
/// number may always say it, so that a name stays good when an earlier one is thinned away.
#[derive(Debug, Default)]
pub(super) struct SnapshotNames {
    by_name: BTreeMap<Bytes, Named>,
    by_head: BTreeMap<HeadKey, Bytes>,
    labels: BTreeMap<HeadKey, Bytes>,
    hidden: BTreeMap<Bytes, HeadKey>,
}

impl SnapshotNames {
    /// Names `heads`, oldest first.
    pub(super) fn new<'a>(heads: impl Iterator<Item = &'a Head> + Clone) -> Self {
        let mut names = Self::default();
        for head in heads.clone() {
            names.add_time(head.time, (head.device, head.seq));
        }
        for head in heads {
            if let Some(label) = head.label.as_deref() {
                names.add_label(label, (head.device, head.seq));
            }
        }
        names
    }

    fn add_time(&mut self, time: Timestamp, key: HeadKey) {
        let time = time_name(time);
        let numbered = format!("{time}-{}", key.1);
        let full = format!("{numbered}-{}", key.0.short());
        let free = [&time, &numbered, &full].into_iter().find(|name| !self.by_name.contains_key(name.as_bytes()));
        let Some(name) = free.map(|name| Bytes::copy_from_slice(name.as_bytes())) else { return };
        self.by_name.insert(name.clone(), Named::Tree(key));
        self.by_head.insert(key, name);
        self.hidden.entry(numbered.into()).or_insert(key);
        self.hidden.insert(full.into(), key);
    }

    /// The newest of several snapshots with one label has it. A label that is a time yields to the snapshot of that time.
    fn add_label(&mut self, label: &str, key: HeadKey) {
        let name = Bytes::from(label.replace(['/', '\0'], "-"));
        let is_time = matches!(self.by_name.get(&name), Some(Named::Tree(_)));
        if check_name(&name).is_err() || is_time {
            return;
        }
        if let Some(Named::Label(older)) = self.by_name.insert(name.clone(), Named::Label(key)) {
            self.labels.remove(&older);
        }
        self.labels.insert(key, name);
    }

    /// What a name means.
    pub(super) fn get(&self, name: &[u8]) -> Option<Named> {
        let hidden = || self.hidden.get(name).map(|key| Named::Tree(*key));
        self.by_name.get(name).copied().or_else(hidden)
    }

    /// The name of a snapshot's directory.
    pub(super) fn of(&self, key: HeadKey) -> Option<&Bytes> {
        self.by_head.get(&key)
    }

    /// The name of the link to it, if it has a label.
    pub(super) fn label_of(&self, key: HeadKey) -> Option<&Bytes> {
        self.labels.get(&key)
    }
}

/// A time in UTC to the second, as ISO 8601 has it. Times outside of its years are told in seconds.
fn time_name(time: Timestamp) -> String {
    match jiff::Timestamp::from_second(time.secs) {
        Ok(instant) => instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => format!("@{}", time.secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_795_250_400;

    fn key(device: u8, seq: u64) -> HeadKey {
        (DeviceId::from_bytes([device; 32]), seq)
    }

    fn named(times: &[(i64, HeadKey)]) -> SnapshotNames {
        let mut names = SnapshotNames::default();
        for (secs, key) in times {
            names.add_time(Timestamp { secs: *secs, nanos: 7 }, *key);
        }
        names
    }

    fn name(names: &SnapshotNames, key: HeadKey) -> String {
        String::from_utf8(names.of(key).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_snapshot_is_called_by_its_time_in_utc() {
        let names = named(&[(1_795_250_400, key(1, 5))]);
        assert_eq!(name(&names, key(1, 5)), "2026-11-21T08:40:00Z");
    }

    #[test]
    fn several_in_one_second_are_told_apart_by_number_and_device() {
        let names = named(&[(NOON, key(1, 5)), (NOON, key(1, 6)), (NOON, key(2, 6))]);
        assert_eq!(name(&names, key(1, 5)), "2026-11-21T08:40:00Z");
        assert_eq!(name(&names, key(1, 6)), "2026-11-21T08:40:00Z-6");
        assert_eq!(name(&names, key(2, 6)), "2026-11-21T08:40:00Z-6-02020202");
    }

    #[test]
    fn a_numbered_name_stays_good_when_the_first_of_its_second_is_gone() {
        let names = named(&[(NOON, key(1, 6))]);
        assert_eq!(name(&names, key(1, 6)), "2026-11-21T08:40:00Z");
        assert_eq!(names.get(b"2026-11-21T08:40:00Z-6"), Some(Named::Tree(key(1, 6))));
    }

    #[test]
    fn a_label_leads_to_the_newest_that_has_it_and_never_hides_a_time() {
        let mut names = named(&[(NOON, key(1, 5)), (NOON + 1, key(1, 6))]);
        names.add_label("before/upgrade", key(1, 5));
        names.add_label("before/upgrade", key(1, 6));
        names.add_label("2026-11-21T08:40:00Z", key(1, 6));
        names.add_label("..", key(1, 5));
        assert_eq!(names.get(b"before-upgrade"), Some(Named::Label(key(1, 6))));
        assert_eq!(names.get(b"2026-11-21T08:40:00Z"), Some(Named::Tree(key(1, 5))));
        assert_eq!(names.label_of(key(1, 5)), None);
        assert_eq!(names.get(b".."), None);
    }

    #[test]
    fn a_time_that_no_calendar_has_still_makes_a_name() {
        let names = named(&[(i64::MAX, key(1, 5)), (i64::MIN, key(1, 6))]);
        assert_eq!(name(&names, key(1, 5)), format!("@{}", i64::MAX));
        assert_eq!(name(&names, key(1, 6)), format!("@{}", i64::MIN));
    }
}
