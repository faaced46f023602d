//! POSIX access control lists, as setfacl and getfacl see them.

use std::os::unix::fs::MetadataExt;

use cairn_fuse_tests::{Ground, command, promise, skip};

use super::as_nobody;

fn mode(ground: &Ground, name: &str) -> u32 {
    std::fs::metadata(ground.path(name)).expect("stat").mode() & 0o7777
}

#[test]
fn an_access_list_is_kept_and_shows_in_the_mode() {
    promise!("Access lists");
    let ground = Ground::new();
    if !command::exists("setfacl") {
        skip!("setfacl is not installed");
    }
    ground.shell("touch f; chmod 640 f; setfacl -m u:1234:rwx,g:4321:r f");
    let list = ground.shell("getfacl -cn f");
    for entry in ["user::rw-", "user:1234:rwx", "group::r--", "group:4321:r--", "mask::rwx", "other::---"] {
        assert!(list.contains(entry), "{entry} is missing in\n{list}");
    }
    assert_eq!(mode(&ground, "f"), 0o670, "the group bits show the mask");
    ground.shell("chmod g=r f");
    assert!(ground.shell("getfacl -cn f").contains("mask::r--"));
    ground.shell("setfacl -b f");
    assert_eq!(mode(&ground, "f"), 0o640);
}

#[test]
fn a_default_list_is_handed_down_instead_of_the_umask() {
    promise!("Access lists");
    let ground = Ground::new();
    if !command::exists("setfacl") {
        skip!("setfacl is not installed");
    }
    ground.shell(
        "mkdir d; setfacl -d -m u::rwx,u:1234:rw,g::r,o::-,m::rwx d; umask 077; touch d/f; mkdir d/e; mkdir d/e/e2",
    );
    let list = ground.shell("getfacl -cn d/f");
    assert!(list.contains("user:1234:rw-") && list.contains("other::---"), "{list}");
    assert_eq!(mode(&ground, "d/f"), 0o660);
    let list = ground.shell("getfacl -cn d/e/e2");
    assert!(list.contains("default:user:1234:rw-") && list.contains("user:1234:rw-"), "{list}");
}

#[test]
fn a_list_lets_in_whom_the_mode_keeps_out() {
    promise!("Access lists");
    let ground = Ground::new();
    if !command::exists("setfacl") {
        skip!("setfacl is not installed");
    }
    ground.shell("umask 077; echo secret > f; echo other > g; setfacl -m u:65534:r f");
    let read = match as_nobody(&ground, "cat f") {
        Ok(mut command) => command::run(&mut command),
        Err(reason) => skip!("{reason}"),
    };
    assert_eq!(String::from_utf8_lossy(&read.stdout), "secret\n", "{}", command::transcript(&read));
    let refused = as_nobody(&ground, "cat g; echo more >> f").expect("as before");
    let refused = command::transcript(&command::run(&mut { refused }));
    assert_eq!(refused.matches("Permission denied").count(), 2, "{refused}");
}

#[test]
fn a_copy_keeps_its_list() {
    let ground = Ground::new();
    if !command::exists("setfacl") {
        skip!("setfacl is not installed");
    }
    ground.shell("mkdir d; setfacl -m u:1234:rwx d; setfacl -d -m g:77:rx d; touch d/f; cp -a d e");
    assert_eq!(ground.shell("cd d; getfacl -Rn ."), ground.shell("cd e; getfacl -Rn ."));
}
