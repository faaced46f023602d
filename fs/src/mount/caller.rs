//! Who asks, and which rights that gives beyond the mode bits that the kernel checks.

use cairn_block::Ino;
use fuser::Request;

use crate::error::FsError;
use crate::ops::{Caller, KillPriv, Operations, Wait};

pub(super) fn caller(req: &Request) -> Caller {
    Caller { uid: req.uid(), gid: req.gid(), pid: req.pid() }
}

/// Root's writes leave set-id bits, anyone else's clear them. The kernel's rule is the capability CAP_FSETID, which
/// requests don't carry; root nearly always has it and others nearly never.
pub(super) fn kill_priv_of(caller: &Caller) -> KillPriv {
    if caller.uid == 0 { KillPriv::Keep } else { KillPriv::Clear }
}

/// Whether a new ACL by this caller may leave the set-group-id bit: only root and members of the file's group may.
pub(super) fn may_keep_group_bit(ops: &dyn Operations, wait: Wait, caller: &Caller, ino: Ino) -> Result<bool, FsError> {
    if caller.uid == 0 {
        return Ok(true);
    }
    let gid = ops.getattr(wait, ino)?.gid;
    Ok(caller.gid == gid || supplementary_groups(caller.pid).contains(&gid))
}

/// Requests carry one group only; the others are in `/proc`. A process that is gone has none.
fn supplementary_groups(pid: u32) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    groups_line(&status)
}

fn groups_line(status: &str) -> Vec<u32> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .map(|list| list.split_whitespace().filter_map(|group| group.parse().ok()).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_the_status_of_a_process() {
        assert_eq!(groups_line("Name:\tsh\nGroups:\t4 27 1000 \nVmPeak:\t1 kB\n"), [4, 27, 1000]);
        assert_eq!(groups_line("Name:\tsh\nGroups:\t\n"), Vec::<u32>::new());
        assert_eq!(supplementary_groups(0), Vec::<u32>::new());
    }

    #[test]
    fn only_root_keeps_set_id_bits_when_writing() {
        assert_eq!(kill_priv_of(&Caller::NODE), KillPriv::Keep);
        assert_eq!(kill_priv_of(&Caller { uid: 1000, gid: 0, pid: 1 }), KillPriv::Clear);
    }
}
