//! mkdir(2), rmdir(2), and what a folder hands down.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use cairn_fuse_tests::{Ground, command, promise, skip};
use rustix::io::Errno;

use super::assert_fails;

#[test]
fn only_an_empty_folder_is_removed() {
    let ground = Ground::new();
    std::fs::create_dir_all(ground.path("d/e")).expect("mkdir");
    let outcome = std::fs::remove_dir(ground.path("d"));
    assert_fails(outcome, Errno::NOTEMPTY);
    std::fs::remove_dir(ground.path("d/e")).expect("rmdir");
    assert_fails(std::fs::remove_dir(ground.path("d/.")), Errno::INVAL);
    std::fs::remove_dir(ground.path("d")).expect("rmdir");
    assert_fails(std::fs::remove_dir(ground.path("d")), Errno::NOENT);
}

#[test]
fn taken_names_and_files_are_refused() {
    let ground = Ground::new();
    std::fs::write(ground.path("f"), b"").expect("write");
    assert_fails(std::fs::create_dir(ground.path("f")), Errno::EXIST);
    assert_fails(std::fs::create_dir(ground.path("f/d")), Errno::NOTDIR);
    assert_fails(std::fs::remove_dir(ground.path("f")), Errno::NOTDIR);
}

#[test]
fn the_link_count_of_a_folder_follows_its_folders() {
    promise!("Hard links");
    let ground = Ground::new();
    let links = || std::fs::metadata(&*ground).expect("stat").nlink();
    let before = links();
    std::fs::create_dir(ground.path("d")).expect("mkdir");
    std::fs::write(ground.path("f"), b"").expect("write");
    assert_eq!((before, links()), (2, 3));
    std::fs::remove_dir(ground.path("d")).expect("rmdir");
    assert_eq!(links(), 2);
}

#[test]
fn a_setgid_folder_hands_its_group_down() {
    promise!("Permissions");
    let ground = Ground::new();
    if !command::is_root() {
        skip!("only root may give a folder to a foreign group");
    }
    let folder = ground.path("shared");
    std::fs::create_dir(&folder).expect("mkdir");
    chown(&folder, None, Some(1234)).expect("chown");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o2775)).expect("chmod");
    ground.shell("touch shared/f; mkdir shared/d; mkdir shared/d/e; ln -s x shared/s; mkfifo shared/p");
    for name in ["f", "d", "d/e", "s", "p"] {
        assert_eq!(std::fs::symlink_metadata(folder.join(name)).expect("stat").gid(), 1234, "{name}");
    }
    assert_eq!(std::fs::metadata(folder.join("d/e")).expect("stat").mode() & 0o2000, 0o2000);
    assert_eq!(std::fs::metadata(folder.join("f")).expect("stat").mode() & 0o2000, 0);
}

#[test]
fn a_deep_tree_is_built_walked_and_removed() {
    let ground = Ground::new();
    let deep = (0..300).map(|i| format!("d{i}")).collect::<Vec<_>>().join("/");
    std::fs::create_dir_all(ground.path(&deep)).expect("mkdir");
    std::fs::write(ground.path(&format!("{deep}/f")), b"deep").expect("write");
    assert_eq!(ground.shell("find . -name f | wc -l").trim(), "1");
    std::fs::remove_dir_all(ground.path("d0")).expect("remove");
    assert_eq!(std::fs::read_dir(&*ground).expect("list").count(), 0);
}

#[test]
fn a_removed_folder_stays_empty_for_those_inside() {
    let ground = Ground::new();
    let out = ground.shell("mkdir d; cd d; rmdir ../d; ls -A | wc -l; touch f 2>&1 || true");
    assert!(out.starts_with('0') && out.contains("No such file"), "{out}");
}
