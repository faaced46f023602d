//! What random histories have found, as short as it gets.

use cairn_fs::ops::SetXattr;

use super::backing::MemoryBacking;
use super::op::{Kind, Op, Rename, Which};
use super::run;

fn play(ops: impl IntoIterator<Item = Op>) {
    run(Box::new(MemoryBacking::new()), &mut ops.into_iter());
}

/// Folder 1 with file 3, which is file 0 of the folder as well.
fn two_names_in_a_folder() -> [Op; 4] {
    [Op::Create(vec![1], Kind::Dir), Op::Create(vec![1, 3], Kind::File), Op::Link(vec![1, 3], vec![1, 0]), Op::Snapshot]
}

#[test]
fn a_restore_brings_back_what_a_file_with_two_names_held_though_its_folder_did_not_change() {
    for flush in [Op::Compare, Op::Flush] {
        let change = [Op::Write(Which::At(vec![1, 3]), 0, 42_903, 200), flush, Op::Restore(0), Op::Compare];
        play(two_names_in_a_folder().into_iter().chain(change));
    }
}

#[test]
fn a_restore_links_a_name_that_was_removed_to_one_in_a_folder_that_did_not_change() {
    play([
        Op::Create(vec![2], Kind::Dir),
        Op::Create(vec![1], Kind::Link),
        Op::Link(vec![1], vec![2, 1]),
        Op::Snapshot,
        Op::Remove(vec![1]),
        Op::Restore(0),
        Op::Compare,
    ]);
}

#[test]
fn a_rename_that_leaves_a_whiteout_is_done_whole_though_the_folders_attributes_have_to_be_read() {
    play([
        Op::Create(vec![4], Kind::Dir),
        Op::SetXattr(vec![4], 0, 1324, SetXattr::Any),
        Op::Create(vec![4, 4], Kind::File),
        Op::Flush,
        Op::Rename(vec![4, 4], vec![2], Rename::Whiteout),
        Op::Compare,
    ]);
}
