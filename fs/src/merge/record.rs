//! One inode, field by field.

use bytes::Bytes;
use cairn_block::{Attr, Content, Record, Xattrs};

use super::{Ancestor, MergeError};

/// The access ACL repeats the mode's bits, so the two are merged as one.
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";

type List = Vec<(Bytes, Bytes)>;

/// Whether what two inodes hold is the same. Of directories nothing is held here: their names are merged one by one.
pub(super) fn holds_same(a: &Record, b: &Record) -> bool {
    match (&a.content, &b.content) {
        (Content::Dir(_), Content::Dir(_)) => true,
        (ours, theirs) => ours == theirs && a.attr.size == b.attr.size && a.attr.rdev == b.attr.rdev,
    }
}

/// Whether somebody did on purpose what leads from one record to the other: not what follows from reading the file, or
/// from adding and removing names.
pub(super) fn is_edit(old: &Record, new: &Record) -> bool {
    let is_directory = matches!(old.content, Content::Dir(_));
    !holds_same(old, new) || !has_same_attributes(old, new) || (!is_directory && old.attr.mtime != new.attr.mtime)
}

/// Whether two inodes are the same to whoever looks at them, but for their times. Never so for directories.
pub(super) fn is_alike(a: &Record, b: &Record) -> bool {
    let is_directory = matches!(a.content, Content::Dir(_));
    !is_directory && a.attr.kind == b.attr.kind && holds_same(a, b) && has_same_attributes(a, b)
}

fn has_same_attributes(a: &Record, b: &Record) -> bool {
    let access = |record: &Record| (record.attr.mode, record.attr.uid, record.attr.gid);
    access(a) == access(b) && a.xattrs == b.xattrs
}

/// A merged inode, and where the sides clashed.
pub(super) struct MergedRecord {
    pub(super) record: Record,
    /// Both sides wrote it: the record has the first side's content.
    pub(super) clashes_in_content: bool,
    /// Both sides set some attribute: the record has the first side's.
    pub(super) clashes_in_attributes: bool,
}

/// Merges what both sides have of one inode. The number of links is left to the caller.
pub(super) fn merge(
    base: Option<&Record>,
    [a, b]: [&Record; 2],
    ancestor: &mut dyn Ancestor,
) -> Result<MergedRecord, MergeError> {
    let mut pick = Pick::default();
    let content = pick_content(base, a, b);
    let source = match content {
        Choice::Second => b,
        Choice::Agreed | Choice::First | Choice::Clash => a,
    };
    let base_attr = base.map(|record| &record.attr);
    let (mode, xattrs) = merge_access(base, a, b, &mut pick, ancestor)?;
    let attr = Attr {
        ino: a.attr.ino,
        kind: a.attr.kind,
        mode,
        uid: pick.field(base_attr.map(|attr| attr.uid), a.attr.uid, b.attr.uid),
        gid: pick.field(base_attr.map(|attr| attr.gid), a.attr.gid, b.attr.gid),
        nlink: a.attr.nlink,
        size: source.attr.size,
        allocated: source.attr.allocated,
        rdev: source.attr.rdev,
        atime: a.attr.atime.max(b.attr.atime),
        mtime: match content {
            Choice::Agreed => pick_mtime(base, a, b),
            _ => source.attr.mtime,
        },
        ctime: a.attr.ctime.max(b.attr.ctime),
        btime: a.attr.btime,
    };
    Ok(MergedRecord {
        record: Record { attr, content: content_of(base, source, b), xattrs },
        clashes_in_content: matches!(content, Choice::Clash),
        clashes_in_attributes: pick.clashed,
    })
}

/// The content of the chosen side. The tree of a directory only says that there are changes below: its names are merged one
/// by one, and [`Changes::apply`](crate::changes::Changes::apply) makes the tree of the result.
fn content_of(base: Option<&Record>, source: &Record, other: &Record) -> Content {
    match (&source.content, base) {
        (Content::Dir(_), Some(base)) if source.content == base.content => other.content.clone(),
        _ => source.content.clone(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Agreed,
    First,
    Second,
    Clash,
}

fn pick_content(base: Option<&Record>, a: &Record, b: &Record) -> Choice {
    let is_base = |record| base.is_some_and(|base| holds_same(base, record));
    match (holds_same(a, b), is_base(a), is_base(b)) {
        (true, ..) => Choice::Agreed,
        (_, _, true) => Choice::First,
        (_, true, _) => Choice::Second,
        _ => Choice::Clash,
    }
}

/// The content is the same on both sides: a time that only one set is its, else the later one. It decides nothing.
fn pick_mtime(base: Option<&Record>, a: &Record, b: &Record) -> cairn_block::Timestamp {
    match base.map(|base| base.attr.mtime) {
        Some(base) if base == a.attr.mtime => b.attr.mtime,
        Some(base) if base == b.attr.mtime => a.attr.mtime,
        _ => a.attr.mtime.max(b.attr.mtime),
    }
}

/// Three-way choice of a field, with a memory of clashes.
#[derive(Default)]
struct Pick {
    clashed: bool,
}

impl Pick {
    fn field<T: PartialEq>(&mut self, base: Option<T>, a: T, b: T) -> T {
        if a == b || base.as_ref() == Some(&b) {
            return a;
        }
        if base.as_ref() == Some(&a) {
            return b;
        }
        self.clashed = true;
        a
    }
}

/// Mode and extended attributes. Lists are read, possibly from blocks of their own, only if both sides changed theirs.
fn merge_access(
    base: Option<&Record>,
    a: &Record,
    b: &Record,
    pick: &mut Pick,
    ancestor: &mut dyn Ancestor,
) -> Result<(u16, Xattrs), MergeError> {
    let is_base = |record: &Record| base.is_some_and(|base| base.xattrs == record.xattrs);
    if a.xattrs == b.xattrs || is_base(a) && is_base(b) {
        let mode = pick.field(base.map(|base| base.attr.mode), a.attr.mode, b.attr.mode);
        return Ok((mode, a.xattrs.clone()));
    }
    let [mut ours, mut theirs] = [read(Some(a), ancestor)?, read(Some(b), ancestor)?];
    let mut before = read(base, ancestor)?;
    let base_access = base.map(|base| (base.attr.mode, take(&mut before, ACCESS_ACL)));
    let our_access = (a.attr.mode, take(&mut ours, ACCESS_ACL));
    let their_access = (b.attr.mode, take(&mut theirs, ACCESS_ACL));
    let (mode, acl) = pick.field(base_access, our_access, their_access);
    let mut merged = merge_lists(&before, &ours, &theirs, pick);
    merged.extend(acl.map(|value| (Bytes::from_static(ACCESS_ACL), value)));
    merged.sort();
    Ok((mode, Xattrs::Inline(merged)))
}

fn read(record: Option<&Record>, ancestor: &mut dyn Ancestor) -> Result<List, MergeError> {
    match record {
        Some(record) => Ok(ancestor.xattrs(&record.xattrs)?),
        None => Ok(List::new()),
    }
}

fn take(list: &mut List, name: &[u8]) -> Option<Bytes> {
    let index = list.iter().position(|(other, _)| other == name)?;
    Some(list.remove(index).1)
}

fn merge_lists(base: &List, a: &List, b: &List, pick: &mut Pick) -> List {
    let value =
        |list: &List, name: &Bytes| list.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
    let mut names: Vec<&Bytes> = a.iter().chain(b).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let merged = names.into_iter().filter_map(|name| {
        let [before, ours, theirs] = [base, a, b].map(|list| value(list, name));
        Some((name.clone(), merge_value(before, ours, theirs, pick)?))
    });
    merged.collect()
}

/// One extended attribute; here too a deletion gives way to an edit.
fn merge_value(base: Option<Bytes>, a: Option<Bytes>, b: Option<Bytes>, pick: &mut Pick) -> Option<Bytes> {
    match (a, b) {
        (None, Some(edited)) | (Some(edited), None) if base.as_ref() != Some(&edited) => Some(edited),
        (a, b) => pick.field(Some(base), a, b),
    }
}
