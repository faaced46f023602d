//! What an epoch promises, and which of two branches counts.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::device::DeviceKey;
use crate::id::DeviceId;
use crate::limits::{EPOCHS_KEPT, SEQ_LIMIT};

fn key(n: u8) -> DeviceKey {
    DeviceKey::from_bytes(&[n; 32])
}

fn member(n: u8, role: Role) -> Member {
    let (name, zone) = (format!("node {n}"), format!("house {}", n % 3));
    Member { node: key(n).id(), name, zone, capacity: 1 << 30, role, class: Class::Anchor, joined: 0 }
}

/// A circle whose founder is 1, with 2 and 3 as owners from its second epoch on.
fn chain() -> Chain {
    let bytes = found_with_nonce(&key(1), vec![member(1, Role::Owner)], [7; 16]).unwrap();
    let circle = UntrustedEpoch::new(bytes.clone()).unwrap().circle();
    let first = UntrustedEpoch::new(bytes).unwrap().verify_first(circle).unwrap();
    let mut chain = Chain::new(first);
    let owners = [1, 2, 3].map(|n| member(n, Role::Owner)).to_vec();
    extend(&mut chain, owners, &[], 1);
    chain
}

/// Signs the next epoch on a chain and takes it.
fn extend(chain: &mut Chain, members: Vec<Member>, revoked: &[u8], signer: u8) {
    let bytes = next(chain.newest(), members, revoked, signer).unwrap();
    assert_eq!(chain.offer(&[UntrustedEpoch::new(bytes).unwrap()]), Ok(Offer::Accepted(1)));
}

fn next(before: &Epoch, members: Vec<Member>, revoked: &[u8], signer: u8) -> Result<bytes::Bytes, EpochError> {
    let revoked = before.revoked.iter().copied().chain(revoked.iter().map(|n| key(*n).id())).collect();
    before.next(members, revoked, &key(signer))
}

fn add(chain: &mut Chain, n: u8, signer: u8) {
    let mut members = chain.newest().members.clone();
    members.push(member(n, Role::Member));
    extend(chain, members, &[], signer);
}

fn revoke(chain: &mut Chain, n: u8, signer: u8) {
    let members = without(chain.newest(), n);
    extend(chain, members, &[n], signer);
}

fn without(epoch: &Epoch, n: u8) -> Vec<Member> {
    epoch.members.iter().filter(|member| member.node != key(n).id()).cloned().collect()
}

fn run(chain: &Chain, from: u64) -> Vec<UntrustedEpoch> {
    chain.run(from).map(UntrustedEpoch::from).collect()
}

/// Shows each the branch of the other, and gives the verdicts.
fn meet(a: &mut Chain, b: &mut Chain, from: u64) -> (Fork, Fork) {
    let (of_a, of_b) = (run(a, from), run(b, from));
    match (a.offer(&of_b).unwrap(), b.offer(&of_a).unwrap()) {
        (Offer::Fork(at_a), Offer::Fork(at_b)) => (at_a, at_b),
        other => panic!("no fork: {other:?}"),
    }
}

#[test]
fn an_epoch_says_what_was_signed() {
    let chain = chain();
    let epoch = chain.newest();
    assert_eq!((epoch.number, epoch.owners().count(), epoch.signer), (2, 3, key(1).id()));
    assert_eq!(epoch.member(&key(1).id()).unwrap().joined, 1);
    assert_eq!(epoch.member(&key(2).id()).unwrap().joined, 2);
    assert!(epoch.members.is_sorted_by_key(|member| member.node));
}

#[test]
fn no_changed_byte_is_taken() {
    let chain = chain();
    let bytes = chain.newest().bytes().to_vec();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let read = UntrustedEpoch::new(changed).and_then(|epoch| epoch.verify_after(&chain.kept_before()));
        assert!(read.is_err(), "byte {at}");
    }
}

impl Chain {
    fn kept_before(&self) -> Arc<Epoch> {
        self.get(self.newest().number - 1).unwrap().clone()
    }
}

#[test]
fn only_an_owner_of_the_epoch_before_signs() {
    let mut chain = chain();
    add(&mut chain, 4, 2);
    let members = chain.newest().members.clone();
    for signer in [4, 9] {
        let refused = next(chain.newest(), members.clone(), &[], signer).unwrap_err();
        assert_eq!(refused, EpochError::NotOwner { signer: key(signer).id(), number: 4 });
    }
    // Who makes itself an owner was none in the epoch before.
    let mut seized = without(chain.newest(), 4);
    seized.push(member(4, Role::Owner));
    assert!(matches!(next(chain.newest(), seized, &[], 4), Err(EpochError::NotOwner { .. })));
}

#[test]
fn a_circle_is_never_without_an_owner() {
    let chain = chain();
    let members = [1, 2, 3].map(|n| member(n, Role::Member)).to_vec();
    assert!(matches!(next(chain.newest(), members, &[], 1), Err(EpochError::Format(_))));
    // The signer itself may go.
    assert!(next(chain.newest(), without(chain.newest(), 1), &[], 1).is_ok());
}

#[test]
fn a_revoked_node_never_comes_back_and_one_that_left_does() {
    let mut chain = chain();
    add(&mut chain, 4, 1);
    revoke(&mut chain, 4, 1);
    let mut members = chain.newest().members.clone();
    members.push(member(4, Role::Member));
    assert!(matches!(next(chain.newest(), members.clone(), &[], 1), Err(EpochError::Format(_))));
    let forgotten = chain.newest().next(members, Vec::new(), &key(1)).unwrap_err();
    assert_eq!(forgotten, EpochError::Forgotten { node: key(4).id() });

    let left = without(chain.newest(), 3);
    extend(&mut chain, left, &[], 1);
    add(&mut chain, 3, 1);
    assert_eq!(chain.newest().member(&key(3).id()).unwrap().joined, 6);
}

#[test]
fn only_members_can_be_revoked_so_nobody_fills_the_list() {
    let mut chain = chain();
    let members = chain.newest().members.clone();
    let refused = next(chain.newest(), members.clone(), &[9], 1).unwrap_err();
    assert_eq!(refused, EpochError::NotMember { node: key(9).id() });
    // Nor one who comes and goes in the same step, or who left before.
    let left = without(chain.newest(), 3);
    extend(&mut chain, left.clone(), &[], 1);
    assert_eq!(next(chain.newest(), left, &[3], 1).unwrap_err(), EpochError::NotMember { node: key(3).id() });
}

#[test]
fn nobody_can_claim_to_have_joined_earlier() {
    let chain = chain();
    let before = chain.newest();
    let mut members = before.members.clone();
    members.push(Member { joined: 1, ..member(9, Role::Member) });
    members.sort_by_key(|member| member.node);
    let bytes = seal(before.circle, [0; 16], 3, *before.hash(), &members, &[], &key(1)).unwrap();
    let refused = UntrustedEpoch::new(bytes).unwrap().verify_after(before).unwrap_err();
    assert_eq!(refused, EpochError::Joined { node: key(9).id(), wanted: 3, found: 1 });
}

#[test]
fn a_circle_cannot_be_founded_by_somebody_else() {
    let chain = chain();
    let stolen = chain.newest().circle;
    let bytes = seal(stolen, [7; 16], 1, [0; 32], &[Member { joined: 1, ..member(9, Role::Owner) }], &[], &key(9));
    assert!(matches!(UntrustedEpoch::new(bytes.unwrap()).unwrap().verify_first(stolen), Err(EpochError::Format(_))));
}

#[test]
fn an_invited_node_begins_where_its_invitation_says() {
    let mut chain = chain();
    add(&mut chain, 4, 1);
    let newest = UntrustedEpoch::from(chain.newest());
    let start = newest.verify_hash(chain.newest().hash()).unwrap();
    let mut invited = Chain::new(start);
    assert_eq!(newest.verify_hash(&[0; 32]).unwrap_err(), EpochError::OtherHash { number: 3 });
    add(&mut chain, 5, 2);
    assert_eq!(invited.offer(&run(&chain, 3)).unwrap(), Offer::Accepted(1));
    assert_eq!(invited.newest(), chain.newest());
}

#[test]
fn who_is_behind_asks_for_what_is_missing() {
    let mut ahead = chain();
    let mut behind = ahead.clone();
    for n in 4..9 {
        add(&mut ahead, n, 1);
    }
    assert_eq!(behind.offer(&run(&ahead, 6)).unwrap(), Offer::Behind { from: 3 });
    assert_eq!(behind.offer(&run(&ahead, 3)).unwrap(), Offer::Accepted(5));
    assert_eq!(behind.offer(&run(&ahead, 1)).unwrap(), Offer::Known);
    assert_eq!(ahead.offer(&[]).unwrap(), Offer::Known);
}

#[test]
fn of_two_accidents_the_longer_branch_counts_then_the_lower_hash() {
    let (mut a, mut b) = (chain(), chain());
    add(&mut a, 4, 1);
    add(&mut b, 5, 2);
    let (at_a, at_b) = meet(&mut a, &mut b, 1);
    assert_eq!((at_a.reason, at_b.reason), (Reason::LowerHash, Reason::LowerHash));
    assert_eq!(a.newest(), b.newest());
    assert_eq!(at_a.lost(), at_b.lost());
    let lower = at_a.ours[0].hash().min(at_a.theirs[0].hash());
    assert_eq!(a.newest().hash(), lower);

    let (mut a, mut b) = (chain(), chain());
    add(&mut a, 4, 1);
    add(&mut b, 5, 2);
    add(&mut b, 6, 3);
    // A run that begins above the fork doesn't attach; the other side is asked for more.
    assert_eq!(a.offer(&run(&b, 4)).unwrap(), Offer::Behind { from: 2 });
    let (at_a, at_b) = meet(&mut a, &mut b, 1);
    assert_eq!((at_a.verdict, at_b.verdict), (Verdict::Switched, Verdict::Stayed));
    assert_eq!(at_a.lost()[0].signer, key(1).id());
    assert_eq!(a.newest().number, 4);
}

#[test]
fn a_revoked_owner_forks_nothing_below_its_revocation() {
    // The key of 3 is stolen; 1 revokes it; the thief signs a long branch from before that.
    let (mut honest, mut thief) = (chain(), chain());
    add(&mut honest, 4, 2);
    revoke(&mut honest, 3, 1);
    for n in 10..20 {
        add(&mut thief, n, 3);
    }
    // On the branch of the thief an accomplice becomes an owner, and signs as well.
    let mut members = thief.newest().members.clone();
    members.push(member(30, Role::Owner));
    extend(&mut thief, members, &[], 3);
    add(&mut thief, 31, 30);
    let (at_honest, at_thief) = meet(&mut honest, &mut thief, 1);
    assert_eq!((at_honest.verdict, at_honest.reason), (Verdict::Stayed, Reason::Condemned));
    assert_eq!((at_thief.verdict, at_thief.reason), (Verdict::Switched, Reason::Condemned));
    assert!(thief.newest().is_revoked(&key(3).id()));
}

#[test]
fn a_revoked_owner_takes_no_node_back_by_way_of_an_honest_rival() {
    // 1 revokes 3, whose key is stolen; 2 has not heard of it, and signs two epochs at the same time.
    let (mut a, mut b) = (chain(), chain());
    revoke(&mut a, 3, 1);
    add(&mut b, 4, 2);
    add(&mut b, 5, 2);
    let heard = a.newest().clone();
    let honest = b.clone();
    revoke(&mut b, 1, 3);
    let branch = run(&b, 3);

    let mut bit_by_bit = a.clone();
    for upto in 1..=3 {
        assert!(matches!(bit_by_bit.offer(&branch[..upto]), Ok(Offer::Fork(_))), "{upto}");
        assert_eq!(bit_by_bit.newest(), &heard, "{upto}");
    }
    // Not even on top of what it was shown before.
    assert_eq!(bit_by_bit.offer(&branch[2..]), Ok(Offer::Behind { from: 4 }));
    assert_eq!(bit_by_bit.offer(&branch[1..]), Ok(Offer::Behind { from: 2 }));
    let Ok(Offer::Fork(fork)) = a.offer(&branch) else { panic!("no fork") };
    assert_eq!((fork.verdict, fork.reason), (Verdict::Split, Reason::Condemned));
    assert_eq!(a.newest(), &heard);

    // Who is on the honest branch alone comes over, and 2 makes its changes again.
    let mut b = honest;
    let (at_a, at_b) = meet(&mut a, &mut b, 1);
    assert_eq!((at_a.verdict, at_b.verdict), (Verdict::Stayed, Verdict::Switched));
    assert_eq!((at_a.reason, at_b.reason), (Reason::Deposed, Reason::Deposed));
    assert_eq!(at_b.lost().len(), 2);
    add(&mut b, 4, 2);
    assert_eq!(a.offer(&run(&b, 1)), Ok(Offer::Accepted(1)));
}

#[test]
fn an_owner_that_is_made_one_again_stays_lost_to_the_branch_that_revokes_it() {
    // On the longer branch 3 is demoted and made an owner again: that outweighs a demotion, and no revocation.
    let change = |chain: &mut Chain, role, signer| {
        let mut members = without(chain.newest(), 3);
        members.push(member(3, role));
        extend(chain, members, &[], signer);
    };
    let (mut a, mut b) = (chain(), chain());
    revoke(&mut a, 3, 1);
    let mut demoted = chain();
    change(&mut demoted, Role::Member, 1);
    change(&mut b, Role::Member, 2);
    add(&mut b, 4, 2);
    let half = b.clone();
    change(&mut b, Role::Owner, 2);
    for other in [half, b.clone()] {
        let (at_a, _) = meet(&mut a.clone(), &mut other.clone(), 1);
        assert_eq!((at_a.verdict, at_a.reason), (Verdict::Stayed, Reason::Deposed));
    }
    let (at_demoted, _) = meet(&mut demoted, &mut b, 1);
    assert_eq!((at_demoted.verdict, at_demoted.reason), (Verdict::Switched, Reason::Longer));
}

#[test]
fn owners_who_revoke_each_other_are_a_split_that_a_person_decides() {
    let (mut a, mut b) = (chain(), chain());
    revoke(&mut a, 3, 1);
    revoke(&mut b, 1, 3);
    add(&mut b, 9, 3);
    let (before_a, before_b) = (a.newest().clone(), b.newest().clone());
    let (at_a, at_b) = meet(&mut a, &mut b, 1);
    assert_eq!((at_a.verdict, at_b.verdict), (Verdict::Split, Verdict::Split));
    assert_eq!((a.newest(), b.newest()), (&before_a, &before_b));
    assert!(at_a.lost().is_empty());

    assert_eq!(b.adopt(&run(&a, 1), &[1; 32]).unwrap_err(), EpochError::OtherHash { number: 3 });
    let replaced = b.adopt(&run(&a, 1), before_a.hash()).unwrap();
    assert_eq!(replaced.len(), 2);
    assert_eq!(b.newest(), &before_a);
}

#[test]
fn two_owners_who_revoke_the_same_key_agree() {
    let (mut a, mut b) = (chain(), chain());
    revoke(&mut a, 3, 1);
    revoke(&mut b, 3, 2);
    meet(&mut a, &mut b, 1);
    assert_eq!(a.newest(), b.newest());
}

#[test]
fn a_branch_below_what_is_kept_is_not_followed() {
    let (mut a, mut b) = (chain(), chain());
    add(&mut b, 200, 2);
    for n in 0..EPOCHS_KEPT as u8 {
        add(&mut a, 10 + n, 1);
    }
    let newest = a.newest().clone();
    assert_eq!(a.offer(&run(&b, 3)).unwrap(), Offer::Below);
    assert_eq!(a.newest(), &newest);
    assert_eq!(a.run(1).count(), 0, "what is kept begins later");
    // A person may still choose it.
    let other = run(&b, 3);
    assert_eq!(a.adopt(&other, &other[0].hash).unwrap().len(), EPOCHS_KEPT);
    assert_eq!(a.newest(), b.newest());
}

#[test]
fn runs_that_are_none_are_refused_and_change_nothing() {
    let mut a = chain();
    let before = a.newest().clone();
    let mut b = chain();
    for n in 4..8 {
        add(&mut b, n, 1);
    }
    let whole = run(&b, 3);
    let gap = [whole[0].clone(), whole[2].clone()];
    assert_eq!(a.offer(&gap).unwrap_err(), EpochError::NotNext { wanted: 4, found: 5 });
    let long = vec![whole[0].clone(); EPOCHS_KEPT + 1];
    assert!(matches!(a.offer(&long), Err(EpochError::Format(_))));
    // The second one is of a signer that was never an owner.
    let stranger = seal(before.circle, [0; 16], 4, whole[0].hash, &b.newest().members, &[], &key(99)).unwrap();
    let bad = [whole[0].clone(), UntrustedEpoch::new(stranger).unwrap()];
    assert!(a.offer(&bad).is_err());
    assert_eq!(a.newest(), &before);
}

#[test]
fn no_number_locks_a_circle() {
    let chain = chain();
    let mut newest = Epoch::clone(chain.newest());
    newest.number = SEQ_LIMIT - 1;
    assert!(matches!(newest.next(newest.members.clone(), Vec::new(), &key(1)), Err(EpochError::Format(_))));
}

#[test]
fn chains_that_meet_agree_whatever_accident_came_between() {
    // Without revocations all branches of one base are in one order, so any number of nodes agree.
    let base = chain();
    let mut nodes: Vec<Chain> = (0..6).map(|_| base.clone()).collect();
    for (at, node) in nodes.iter_mut().enumerate() {
        for step in 0..=(at % 3) {
            add(node, (20 + 10 * at + step) as u8, 1 + (at % 3) as u8);
        }
    }
    for round in 0..2 {
        for a in 0..nodes.len() {
            for b in 0..nodes.len() {
                let shown = run(&nodes[(a + round) % 6], 1);
                nodes[b].offer(&shown).unwrap();
            }
        }
    }
    assert!(nodes.iter().all(|node| node.newest() == nodes[0].newest()));
}

#[test]
fn the_largest_circle_fits() {
    let many = crate::limits::MEMBERS_MAX;
    let name = |n: usize| format!("{n:064}");
    let founder = key(1);
    let mut members: Vec<Member> = (1..many)
        .map(|n| {
            let mut node = [0; 32];
            node[..8].copy_from_slice(&n.to_le_bytes());
            Member { node: DeviceId::from_bytes(node), name: name(n), zone: name(n), ..member(2, Role::StorageOnly) }
        })
        .collect();
    members.push(Member { name: name(0), ..member(1, Role::Owner) });
    let bytes = Epoch::found(&founder, members.clone()).unwrap();
    assert!(bytes.len() > 1_800_000);
    members.push(member(2, Role::Member));
    assert!(matches!(Epoch::found(&founder, members), Err(EpochError::Format(_))));
}

#[test]
fn what_a_person_chose_is_undone_by_no_offer() {
    let mut a = chain();
    add(&mut a, 4, 1);
    let good = a.clone();
    revoke(&mut a, 1, 3);
    let bad = a.clone();
    assert_eq!(a.adopt(&run(&a, 1), &good.newest().previous).unwrap_err(), EpochError::OtherHash { number: 4 });
    assert!(a.adopt(&[], good.newest().hash()).is_err());
    assert_eq!(a.adopt(&run(&good, 1), good.newest().hash()).unwrap().len(), 1);
    assert_eq!(a.newest(), good.newest());

    // What was not wanted is not taken again, before and after something else was signed, nor after a restart.
    let mut restarted = Chain::from_run(&run(&a, 1), a.newest().hash()).unwrap();
    restarted.keep_choice(*a.choice().unwrap());
    for chain in [&mut a, &mut restarted] {
        for _ in 0..2 {
            let Ok(Offer::Fork(fork)) = chain.offer(&run(&bad, 1)) else { panic!("no fork") };
            assert_eq!((fork.verdict, fork.reason), (Verdict::Stayed, Reason::Chosen));
            revoke(chain, if chain.newest().is_revoked(&key(3).id()) { 2 } else { 3 }, 1);
        }
    }
    // Nor is a longer branch from below the choice.
    let mut long = chain();
    (20..28).for_each(|n| add(&mut long, n, 2));
    let Ok(Offer::Fork(fork)) = a.offer(&run(&long, 1)) else { panic!("no fork") };
    assert_eq!((fork.verdict, fork.reason), (Verdict::Stayed, Reason::Chosen));
}

#[test]
fn a_run_from_below_what_is_kept_goes_on_from_the_newest() {
    let mut ahead = chain();
    (4..8).for_each(|n| add(&mut ahead, n, 1));
    let mut late = Chain::from_run(&run(&ahead, 4), ahead.newest().hash()).unwrap();
    add(&mut ahead, 9, 1);
    assert_eq!(late.offer(&run(&ahead, 2)), Ok(Offer::Accepted(1)));
    assert_eq!(late.offer(&run(&ahead, 1)), Ok(Offer::Known));
}

#[test]
fn an_invited_node_that_got_some_epochs_follows_a_rival_of_the_newest() {
    let (mut a, mut b) = (chain(), chain());
    add(&mut a, 4, 1);
    add(&mut b, 5, 2);
    add(&mut b, 6, 2);
    let welcome = run(&a, 1);
    let mut alone = Chain::from_run(&welcome[2..], a.newest().hash()).unwrap();
    assert_eq!(alone.offer(&run(&b, 2)), Ok(Offer::Below));
    let mut invited = Chain::from_run(&welcome, a.newest().hash()).unwrap();
    let Ok(Offer::Fork(fork)) = invited.offer(&run(&b, 2)) else { panic!("no fork") };
    assert_eq!((fork.verdict, invited.newest()), (Verdict::Switched, b.newest()));
    assert!(Chain::from_run(&welcome, &welcome[1].hash).is_err());
    assert!(Chain::from_run(&[], a.newest().hash()).is_err());
}

/// A node of a random history, and whose revocation it has accepted.
#[derive(Clone)]
struct Witness {
    chain: Chain,
    accepted: BTreeSet<DeviceId>,
}

impl Witness {
    fn new(chain: Chain) -> Self {
        Witness { chain, accepted: BTreeSet::new() }
    }

    /// Notes the owners that were revoked, and that none of them is one.
    fn look(&mut self) {
        let kept: Vec<_> = self.chain.run(1).cloned().collect();
        for pair in kept.windows(2) {
            let revoked = pair[0].owners().map(|owner| owner.node).filter(|owner| pair[1].is_revoked(owner));
            self.accepted.extend(revoked);
        }
        let newest = self.chain.newest();
        assert!(!self.accepted.iter().any(|node| newest.is_owner(node)), "an owner is back");
    }

    /// Is shown a branch up to one of its epochs, as a peer does it: from below if the last part doesn't attach.
    fn hear(&mut self, branch: &[UntrustedEpoch], from: usize) -> Offer {
        let mut offer = self.chain.offer(&branch[from..]).unwrap();
        if matches!(offer, Offer::Behind { .. }) {
            offer = self.chain.offer(branch).unwrap();
        }
        self.look();
        offer
    }

    /// Signs something, if `signer` is lucky enough to be an owner and the change is one.
    fn sign(&mut self, change: u8, who: u8, signer: u8, fresh: u8) -> bool {
        let newest = self.chain.newest();
        let mut members = newest.members.clone();
        let mut revoked = newest.revoked.clone();
        let pick = usize::from(who) % members.len();
        match change {
            0..=2 => members.push(member(fresh, Role::Member)),
            3..=4 => revoked.push(members.remove(pick).node),
            5 => members[pick].role = Role::Member,
            6 => members[pick].role = Role::Owner,
            _ => drop(members.remove(pick)),
        }
        let bytes = newest.next(members, revoked, &key(signer));
        let Ok(bytes) = bytes else { return false };
        assert_eq!(self.hear(&[UntrustedEpoch::new(bytes).unwrap()], 0), Offer::Accepted(1));
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whoever_heard_everything_agrees_or_says_split_in_whatever_pieces_it_came(
        // Who does it, what (from 8 on: show somebody the own chain), to whom, by whose key.
        steps in prop::collection::vec((0usize..4, 0u8..11, any::<u8>(), 1u8..4), 1..22),
        // For each of those who only listen: in which order, and where what it is shown ends and begins.
        orders in prop::collection::vec(prop::collection::vec((any::<u16>(), any::<u8>(), any::<u8>()), 22), 3),
    ) {
        let base = chain();
        let from = base.newest().number + 1;
        let mut nodes: Vec<Witness> = (0..4).map(|_| Witness::new(base.clone())).collect();
        let mut branches = Vec::new();
        for (at, (author, change, who, signer)) in steps.into_iter().enumerate() {
            if change >= 8 {
                let shown = run(&nodes[author].chain, 1);
                nodes[usize::from(who) % 4].hear(&shown, 0);
            } else if nodes[author].sign(change, who, signer, 10 + at as u8) {
                branches.push(run(&nodes[author].chain, from));
            }
        }
        for order in orders {
            let mut listener = Witness::new(base.clone());
            let mut queue: Vec<_> = branches.iter().zip(order).collect();
            queue.sort_by_key(|(_, (place, ..))| *place);
            for (branch, (_, end, begin)) in queue {
                let end = 1 + usize::from(end) % branch.len();
                listener.hear(&branch[..end], usize::from(begin) % end);
                listener.hear(branch, usize::from(begin) % branch.len());
            }
            // Nothing that it heard is over what it came to.
            for branch in &branches {
                let before = listener.chain.newest().clone();
                listener.hear(branch, 0);
                prop_assert_eq!(&before, listener.chain.newest());
            }
            nodes.push(listener);
        }

        let mut rounds = 0;
        loop {
            let before: Vec<_> = nodes.iter().map(|node| *node.chain.newest().hash()).collect();
            for a in 0..nodes.len() {
                let shown = run(&nodes[a].chain, 1);
                nodes.iter_mut().for_each(|node| drop(node.hear(&shown, 0)));
            }
            if nodes.iter().map(|node| *node.chain.newest().hash()).eq(before) {
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 8, "they go round in circles");
        }
        for a in &nodes {
            let shown = run(&a.chain, 1);
            for b in &nodes {
                if a.chain.newest() != b.chain.newest() {
                    let Offer::Fork(fork) = b.clone().hear(&shown, 0) else { panic!("no fork") };
                    prop_assert_eq!(fork.verdict, Verdict::Split);
                }
            }
        }
    }
}
