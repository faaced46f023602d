//! Attributes, extended attributes, and the ties between them.

use super::*;
use crate::ops::{KillPriv, SetAttr, SetXattr, TimeOrNow};
use cairn_block::entry::{Attr, FileType};
use cairn_block::limits::{FILE_BYTES_MAX, XATTR_NAME_BYTES_MAX, XATTR_VALUE_BYTES_MAX};

/// All extended attributes of one inode together. Half of what a block could hold, so that the list
/// and its frame also fit one journal record.
const XATTRS_TOTAL_BYTES_MAX: usize = 512 << 10;
/// File capabilities: a privilege like the set-id bits.
const CAPABILITY: &[u8] = b"security.capability";
const DAY_SECS: i64 = 24 * 60 * 60;

impl State {
    /// What stat shows.
    pub(crate) fn getattr(&mut self, ino: Ino) -> Step<Attr> {
        Ok(self.loaded(ino)?.stat())
    }

    /// A symbolic link's target.
    pub(crate) fn readlink(&mut self, ino: Ino) -> Step<Bytes> {
        match &self.loaded(ino)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(FsError::Invalid.into()),
        }
    }

    /// Changes attributes in one step.
    pub(crate) fn setattr(&mut self, ino: Ino, set: &SetAttr, now: Timestamp) -> Step<Attr> {
        self.load(ino)?;
        let clears = set.kill_priv == KillPriv::Clear || set.uid.is_some() || set.gid.is_some();
        if clears || set.mode.is_some() {
            self.xattrs(ino)?;
        }
        if let Some(size) = set.size {
            if size > FILE_BYTES_MAX {
                return Err(FsError::FileTooBig.into());
            }
            self.loaded_file(ino)?;
            self.touch(ino);
            self.resize(ino, size)?;
        }
        self.touch(ino);
        let node = self.loaded(ino)?;
        let attr = &mut node.attr;
        if let Some(mode) = set.mode {
            attr.mode = mode & 0o7777;
        }
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        let time = |t: TimeOrNow| match t {
            TimeOrNow::Time(time) => time,
            TimeOrNow::Now => now,
        };
        if set.size.is_some() {
            attr.mtime = now;
        }
        attr.atime = set.atime.map_or(attr.atime, time);
        attr.mtime = set.mtime.map_or(attr.mtime, time);
        attr.ctime = set.ctime.unwrap_or(now);
        if let Some(mode) = set.mode {
            self.tie_acl_to_mode(ino, mode)?;
        }
        if set.kill_priv == KillPriv::Clear {
            self.kill_privileges(ino)?;
        }
        Ok(self.loaded(ino)?.stat())
    }

    /// After a chmod the access list says the same as the mode.
    fn tie_acl_to_mode(&mut self, ino: Ino, mode: u16) -> Step<()> {
        let list = self.xattrs(ino)?;
        if let Some((_, value)) = list.iter_mut().find(|(name, _)| name == acl::ACCESS)
            && let Some(list) = acl::Acl::parse(value)
        {
            *value = list.with_mode(mode).encode();
        }
        Ok(())
    }

    /// Takes set-id bits and capabilities away, as a write by somebody unprivileged does. The
    /// set-group-id bit of a file that its group can't execute means something else and stays.
    pub(super) fn kill_privileges(&mut self, ino: Ino) -> Step<()> {
        let node = self.loaded(ino)?;
        if node.attr.kind == FileType::Directory {
            return Ok(());
        }
        let mut keep = !0o4000;
        if node.attr.mode & 0o010 != 0 {
            keep &= !0o2000;
        }
        let list = self.xattrs(ino)?;
        list.retain(|(name, _)| name != CAPABILITY);
        self.touch(ino);
        self.loaded(ino)?.attr.mode &= keep;
        Ok(())
    }

    /// Whether a write would have to take privileges away.
    pub(super) fn has_privileges(&mut self, ino: Ino) -> Step<bool> {
        let mode = self.loaded(ino)?.attr.mode;
        let set_id = mode & 0o4000 != 0 || mode & 0o2010 == 0o2010;
        Ok(set_id || self.xattrs(ino)?.iter().any(|(name, _)| name == CAPABILITY))
    }

    /// Takes rights, times and extended attributes over from a record.
    pub(crate) fn adopt_attributes(
        &mut self,
        ino: Ino,
        was: &Attr,
        list: Vec<(Bytes, Bytes)>,
        now: Timestamp,
    ) -> Step<()> {
        self.load(ino)?;
        self.touch(ino);
        let node = self.loaded(ino)?;
        node.xattrs = Attributes::Loaded(list);
        let attr = &mut node.attr;
        (attr.mode, attr.uid, attr.gid) = (was.mode, was.uid, was.gid);
        (attr.atime, attr.mtime, attr.btime) = (was.atime, was.mtime, was.btime);
        attr.ctime = now;
        Ok(())
    }

    /// Whether an inode is, unchanged, what a record says, down to everything below it.
    pub(crate) fn equals(&mut self, ino: Ino, record: &Record) -> Step<bool> {
        use cairn_block::entry::{Content, Xattrs};
        self.load(ino)?;
        let Some(node) = self.node(ino).filter(|node| !node.flushing && !self.dirty.contains(&ino)) else {
            return Ok(false);
        };
        let xattrs = match (&node.xattrs, &record.xattrs) {
            (Attributes::Loaded(mine), Xattrs::Inline(list)) => mine == list,
            (Attributes::Sealed(mine), Xattrs::Sealed(reference)) => mine == reference,
            _ => false,
        };
        let content = match (&node.body, &record.content) {
            (Body::Dir(dir), Content::Dir(root)) => dir.base == *root,
            (Body::File(file), content) => file.base == *content,
            (Body::Symlink(mine), Content::Symlink(target)) => mine == target,
            (Body::Special, Content::None) => true,
            _ => false,
        };
        Ok(xattrs && content && node.attr == record.attr)
    }

    /// Notes a read, as relatime does: only when the last one is older than the last change, or a day.
    pub(crate) fn note_access(&mut self, ino: Ino, now: Timestamp) -> Step<()> {
        let attr = &self.loaded(ino)?.attr;
        let stale = attr.atime <= attr.mtime || attr.atime <= attr.ctime || attr.atime.secs + DAY_SECS < now.secs;
        if !stale || attr.atime >= now {
            return Ok(());
        }
        self.loaded(ino)?.attr.atime = now;
        if self.dirty.contains(&ino) {
            self.touch(ino);
        } else {
            self.accessed.insert(ino);
        }
        if self.accessed.len() > ACCESSED_MAX {
            self.touch_accessed();
        }
        Ok(())
    }

    /// The list of extended attributes, brought into memory.
    pub(super) fn xattrs(&mut self, ino: Ino) -> Step<&mut Vec<(Bytes, Bytes)>> {
        self.load(ino)?;
        let sealed = match &self.node(ino).ok_or(FsError::Stale)?.xattrs {
            Attributes::Loaded(_) => None,
            Attributes::Sealed(reference) => Some(reference.clone()),
        };
        if let Some(reference) = sealed {
            let list = self.pinned.attributes.get(&reference.id).cloned();
            let list = list.ok_or(Stop::Need(Need::Attributes(ino, reference)))?;
            self.node_mut(ino).ok_or(FsError::Stale)?.xattrs = Attributes::Loaded(list);
        }
        match &mut self.node_mut(ino).ok_or(FsError::Stale)?.xattrs {
            Attributes::Loaded(list) => Ok(list),
            Attributes::Sealed(_) => Err(FsError::Stale.into()),
        }
    }

    /// The list that children of a directory inherit.
    pub(super) fn inherited_acl(&mut self, parent: Ino) -> Step<Option<acl::Acl>> {
        let list = self.xattrs(parent)?;
        let value = list.iter().find(|(name, _)| name == acl::DEFAULT);
        Ok(value.and_then(|(_, value)| acl::Acl::parse(value)))
    }

    /// The value of an extended attribute.
    pub(crate) fn getxattr(&mut self, ino: Ino, name: &[u8]) -> Step<Bytes> {
        let list = self.xattrs(ino)?;
        let value = list.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        Ok(value.ok_or(FsError::NoData)?)
    }

    /// The names of all extended attributes.
    pub(crate) fn listxattr(&mut self, ino: Ino) -> Step<Vec<Bytes>> {
        Ok(self.xattrs(ino)?.iter().map(|(name, _)| name.clone()).collect())
    }

    /// Sets an extended attribute.
    pub(crate) fn setxattr(
        &mut self,
        ino: Ino,
        name: &[u8],
        value: Bytes,
        how: SetXattr,
        kill_sgid: KillPriv,
        now: Timestamp,
    ) -> Step<()> {
        if name.is_empty() || name.len() > XATTR_NAME_BYTES_MAX {
            return Err(FsError::Range.into());
        }
        if value.len() > XATTR_VALUE_BYTES_MAX {
            return Err(FsError::ValueTooLarge.into());
        }
        let list = self.xattrs(ino)?;
        let found = list.iter().position(|(n, _)| n == name);
        match (how, found) {
            (SetXattr::Create, Some(_)) => return Err(FsError::Exists.into()),
            (SetXattr::Replace, None) => return Err(FsError::NoData.into()),
            _ => {}
        }
        let others = list.iter().filter(|(n, _)| n != name).map(|(n, v)| n.len() + v.len() + 8).sum::<usize>();
        if others + name.len() + value.len() + 8 > XATTRS_TOTAL_BYTES_MAX {
            return Err(FsError::NoSpace.into());
        }
        match name {
            acl::ACCESS => return self.set_access_acl(ino, &value, kill_sgid, now),
            acl::DEFAULT => {
                self.check_default_acl(ino, &value)?;
            }
            _ => {}
        }
        self.touch(ino);
        self.store_xattr(ino, name, Some(value), now)
    }

    fn check_default_acl(&mut self, ino: Ino, value: &[u8]) -> Step<()> {
        if self.loaded(ino)?.dir().is_none() {
            return Err(FsError::NotPermitted.into());
        }
        acl::Acl::parse(value).map(|_| ()).ok_or(Stop::Fs(FsError::Invalid))
    }

    /// An access list changes the mode; one that says no more than a mode is kept as the mode.
    fn set_access_acl(&mut self, ino: Ino, value: &[u8], kill_sgid: KillPriv, now: Timestamp) -> Step<()> {
        let list = acl::Acl::parse(value).ok_or(FsError::Invalid)?;
        self.touch(ino);
        let attr = &mut self.loaded(ino)?.attr;
        attr.mode = attr.mode & !0o777 | list.mode();
        if kill_sgid == KillPriv::Clear {
            attr.mode &= !0o2000;
        }
        let kept = (!list.is_plain()).then(|| list.encode());
        self.store_xattr(ino, acl::ACCESS, kept, now)
    }

    /// Removes an extended attribute.
    pub(crate) fn removexattr(&mut self, ino: Ino, name: &[u8], now: Timestamp) -> Step<()> {
        if !self.xattrs(ino)?.iter().any(|(n, _)| n == name) {
            return Err(FsError::NoData.into());
        }
        self.touch(ino);
        if name == acl::ACCESS {
            self.drop_access_acl(ino)?;
        }
        self.store_xattr(ino, name, None, now)
    }

    /// Without a list, the mode's group bits are the owning group's own again.
    fn drop_access_acl(&mut self, ino: Ino) -> Step<()> {
        let list = self.xattrs(ino)?.iter().find(|(n, _)| n == acl::ACCESS).cloned();
        if let Some(list) = list.and_then(|(_, value)| acl::Acl::parse(&value)) {
            let attr = &mut self.loaded(ino)?.attr;
            attr.mode = attr.mode & !0o070 | list.group_mode();
        }
        Ok(())
    }

    fn store_xattr(&mut self, ino: Ino, name: &[u8], value: Option<Bytes>, now: Timestamp) -> Step<()> {
        let list = self.xattrs(ino)?;
        let place = list.binary_search_by(|(n, _)| n[..].cmp(name));
        match (place, value) {
            (Ok(at), Some(value)) => list[at].1 = value,
            (Err(at), Some(value)) => list.insert(at, (Bytes::copy_from_slice(name), value)),
            (Ok(at), None) => drop(list.remove(at)),
            (Err(_), None) => {}
        }
        self.loaded(ino)?.attr.ctime = now;
        Ok(())
    }
}
