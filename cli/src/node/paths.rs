//! What a path means: in the volume, or below a mount of it, now or in a snapshot.

use std::path::Path;

use super::history;
use super::open::{Node, OpenVolume};
use crate::control::routes::Target;
use crate::errors::{Failure, Kind, Outcome};
use crate::text::{Name, shown};
use crate::transfer::tree::{self, Found};
use cairn_block::Head;
use cairn_fs::snapshots::SNAPSHOTS_NAME;

/// A path that was found out about.
pub(super) struct Place {
    /// The volume's name.
    pub(super) volume_name: String,
    /// The volume.
    pub(super) open: OpenVolume,
    /// From the root of the volume as it is now.
    pub(super) path: Vec<u8>,
    /// The snapshot, where it is in one.
    pub(super) snapshot: Option<Head>,
}

impl Place {
    /// What is there; the failure names it as it was typed.
    pub(super) fn expect(&self) -> Outcome<Found<'_>> {
        self.found(tree::find(self.open.door.as_ref(), &self.full_path())?)
    }

    /// The same, and where that is a symbolic link, what it leads to.
    pub(super) fn expect_followed(&self) -> Outcome<Found<'_>> {
        self.found(tree::find_followed(self.open.door.as_ref(), &self.full_path())?)
    }

    fn found<'v>(&self, found: Option<Found<'v>>) -> Outcome<Found<'v>> {
        found.ok_or_else(|| match &self.snapshot {
            None => tree::nothing_at(&self.path),
            Some(snapshot) => {
                let message = format!("there was no {} in the snapshot {}", shown(&self.path), history::name(snapshot));
                Failure::new(Kind::NotFound, message)
                    .hint("`cairn history PATH` lists the snapshots in which a path changed")
            }
        })
    }

    /// From the root of the volume, with the way into the snapshot where it is in one.
    pub(super) fn full_path(&self) -> Vec<u8> {
        match &self.snapshot {
            None => self.path.clone(),
            Some(snapshot) => {
                let name = history::full_name(snapshot);
                [b"/", SNAPSHOTS_NAME, b"/", name.as_bytes(), self.path.as_slice()].concat()
            }
        }
    }
}

impl Node {
    /// Finds out what was typed. `PATH@SNAPSHOT` is taken apart only where nothing has the whole as its name.
    pub(super) fn place(&self, target: &Target) -> Outcome<Place> {
        let (volume_name, path) = self.volume_path(target);
        let open = self.existing_volume(&volume_name)?;
        let place = |path, snapshot| Place { volume_name, open: open.clone(), path, snapshot };
        if let Some(at) = &target.at {
            return Ok(place(path, Some(history::find(&open.volume, at)?)));
        }
        let Some(cut) = path.iter().rposition(|byte| *byte == b'@') else { return Ok(place(path, None)) };
        if tree::find(open.door.as_ref(), &path)?.is_some() {
            return Ok(place(path, None));
        }
        let (before, after) = (&path[..cut], &path[cut + 1..]);
        let word = std::str::from_utf8(after)
            .map_err(|_| Failure::new(Kind::NotFound, format!("there is no snapshot {}", shown(after))))?;
        Ok(place(rooted(before), Some(history::find(&open.volume, word)?)))
    }

    /// The volume and the path in it: a path of this machine below a mount is one of that mount's volume.
    pub(super) fn volume_path(&self, target: &Target) -> (String, Vec<u8>) {
        let typed = target.path.to_path();
        let absolute = if typed.is_absolute() { typed } else { target.directory.to_path().join(typed) };
        let places = self.mounts.places();
        // From the top, so that nothing below a mount is asked for: the way to it may lead through links.
        let mut above: Vec<&Path> = if places.is_empty() { Vec::new() } else { absolute.ancestors().collect() };
        above.reverse();
        let below = above.into_iter().find_map(|above| {
            let real = above.canonicalize().ok()?;
            let (volume, _) = places.iter().find(|(_, place)| *place == real)?;
            let below = absolute.strip_prefix(above).ok()?;
            Some((volume.clone(), rooted(&Name::from(below).0)))
        });
        below.unwrap_or_else(|| (target.volume.clone(), keep_end(&target.path.0)))
    }
}

fn rooted(path: &[u8]) -> Vec<u8> {
    tree::joined(&tree::names(path))
}

/// Rooted, with a slash at the end where there was one: `put` tells a directory that is to be made by it.
fn keep_end(path: &[u8]) -> Vec<u8> {
    let mut rooted = rooted(path);
    if path.ends_with(b"/") && rooted != b"/" {
        rooted.push(b'/');
    }
    rooted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_rooted_and_keeps_its_end() {
        assert_eq!(keep_end(b"a/./b"), b"/a/b");
        assert_eq!(keep_end(b"a/"), b"/a/");
        assert_eq!(keep_end(b"/"), b"/");
        assert_eq!(keep_end(b""), b"/");
    }
}
