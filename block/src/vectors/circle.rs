use bytes::Bytes;
use serde_json::{Value, json};

use super::{compare, device, hex, refused};
use crate::circle::{Class, Epoch, EpochError, Member, Role, UntrustedEpoch, found_with_nonce, seal};
use crate::device::DeviceKey;
use crate::id::DeviceId;
use crate::limits::{CAPACITY_MAX, SEQ_LIMIT};
use crate::signature::Purpose;

const NONCE: [u8; 16] = [0x77; 16];
/// Where the fields of an epoch begin, as FORMAT.md has it, and those of its first member.
const NONCE_AT: usize = 17;
const NUMBER_AT: usize = 33;
const PREVIOUS_AT: usize = 41;
const COUNT_AT: usize = 73;
const NAME_AT: usize = 75 + 32;

#[test]
fn circle() {
    let first = first();
    let second = after(&first, grown());
    let revoked = vec![second.members[0].node];
    let third = second.next(second.members[1..].to_vec(), revoked, &second_owner()).unwrap();
    let valid = vec![
        case("the first epoch of a circle", None, first.bytes()),
        case("more members, of all roles and classes", Some(&first), second.bytes()),
        case("one revoked, signed by the second owner", Some(&second), &third),
    ];
    let third = UntrustedEpoch::new(third).unwrap().verify_after(&second).unwrap();
    compare("circle.json", "Epochs of circles.", valid, malformed(&first, &second, &third));
}

fn second_owner() -> DeviceKey {
    DeviceKey::from_bytes(&[0x23; 32])
}

fn founder() -> Member {
    member(device().id(), "attic", Role::Owner)
}

fn member(node: DeviceId, name: &str, role: Role) -> Member {
    let zone = "home".to_owned();
    Member { node, name: name.to_owned(), zone, capacity: 1 << 40, role, class: Class::Anchor, joined: 0 }
}

fn first() -> Epoch {
    let bytes = found_with_nonce(&device(), vec![founder()], NONCE).unwrap();
    let untrusted = UntrustedEpoch::new(bytes).unwrap();
    untrusted.verify_first(untrusted.circle()).unwrap()
}

fn grown() -> Vec<Member> {
    let phone = Member {
        class: Class::Roaming,
        capacity: 0,
        zone: "Großmutters Keller".to_owned(),
        ..member(DeviceId::from_bytes([0xee; 32]), "客厅", Role::Member)
    };
    let vault = Member {
        capacity: CAPACITY_MAX,
        ..member(DeviceId::from_bytes([0x01; 32]), &"v".repeat(64), Role::StorageOnly)
    };
    vec![founder(), member(second_owner().id(), "nas 2", Role::Owner), phone, vault]
}

fn after(before: &Epoch, members: Vec<Member>) -> Epoch {
    let bytes = before.next(members, before.revoked.clone(), &device()).unwrap();
    verified(Some(before), &bytes).unwrap()
}

fn verified(before: Option<&Epoch>, bytes: &Bytes) -> Result<Epoch, EpochError> {
    let epoch = UntrustedEpoch::new(bytes.clone())?;
    match before {
        Some(before) => epoch.verify_after(before),
        None => epoch.verify_first(first_circle()),
    }
}

fn first_circle() -> crate::id::CircleId {
    let bytes = found_with_nonce(&device(), vec![founder()], NONCE).unwrap();
    UntrustedEpoch::new(bytes).unwrap().circle()
}

fn given(name: &str, before: Option<&Epoch>, bytes: &Bytes) -> Value {
    json!({
        "name": name,
        "circle": first_circle(),
        "before": before.map(|before| hex(before.bytes())),
        "epoch": hex(bytes),
    })
}

fn case(name: &str, before: Option<&Epoch>, bytes: &Bytes) -> Value {
    let epoch = verified(before, bytes).unwrap();
    let members: Vec<_> = epoch
        .members
        .iter()
        .map(|m| json!([m.node, m.name, m.zone, m.capacity, m.role as u8, m.class as u8, m.joined]))
        .collect();
    let mut case = given(name, before, bytes);
    case["hash"] = hex(epoch.hash()).into();
    case["number"] = epoch.number.into();
    case["previous"] = hex(epoch.previous).into();
    case["members"] = members.into();
    case["revoked"] = json!(epoch.revoked);
    case["signer"] = json!(epoch.signer);
    case
}

/// Alters an epoch and signs it again.
fn resigned(epoch: &Epoch, at: usize, bytes: &[u8]) -> Bytes {
    let mut changed = epoch.bytes()[..epoch.bytes().len() - 64].to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    let signer = [device(), second_owner()].into_iter().find(|key| key.id() == epoch.signer).unwrap();
    let signature = signer.sign(Purpose::Epoch, &changed);
    [&changed[..], &signature].concat().into()
}

/// What no honest owner signs, after `before`.
fn signed(before: &Epoch, members: &[Member], revoked: &[DeviceId], signer: &DeviceKey) -> Bytes {
    seal(before.circle, [0; 16], before.number + 1, *before.hash(), members, revoked, signer).unwrap()
}

fn malformed(first: &Epoch, second: &Epoch, third: &Epoch) -> Vec<Value> {
    let last = first.bytes().len() - 1;
    let mut flipped = first.bytes().to_vec();
    flipped[last - 40] ^= 1;
    let alone = [
        ("a newer version", resigned(first, 0, &[2]), "Format/Version"),
        ("another circle", resigned(first, 1, &[0]), "Format/Invalid"),
        ("another nonce", resigned(first, NONCE_AT, &[0]), "Format/Invalid"),
        ("number zero", resigned(first, NUMBER_AT, &[0]), "Format/Invalid"),
        ("a number that leaves no next", resigned(first, NUMBER_AT, &SEQ_LIMIT.to_le_bytes()), "Format/AboveBound"),
        ("a first epoch with a past", resigned(first, PREVIOUS_AT, &[1]), "Format/Invalid"),
        ("more members than bytes", resigned(first, COUNT_AT, &[200]), "Format/Truncated"),
        ("more members than any circle", resigned(first, COUNT_AT, &[0xff, 0xff]), "Format/AboveBound"),
        ("a name longer than a name", resigned(first, NAME_AT, &[65]), "Format/AboveBound"),
        ("a name that is not UTF-8", resigned(first, NAME_AT + 1, &[0xff]), "Format/Invalid"),
        ("a name with a control character", resigned(first, NAME_AT + 1, &[0x1b]), "Format/Invalid"),
        ("a name that begins with a space", resigned(first, NAME_AT + 1, b" "), "Format/Invalid"),
        ("more bytes than any disk", resigned(first, NAME_AT + 11 + 6, &[5]), "Format/AboveBound"),
        ("an unknown role", resigned(first, NAME_AT + 11 + 8, &[3]), "Format/Invalid"),
        ("a first epoch whose founder is no owner", resigned(first, NAME_AT + 11 + 8, &[1]), "Format/Invalid"),
        ("an unknown class", resigned(first, NAME_AT + 11 + 9, &[2]), "Format/Invalid"),
        ("a member that is yet to join", resigned(first, NAME_AT + 11 + 10, &[2]), "Format/AboveBound"),
        ("a member that joined never", resigned(first, NAME_AT + 11 + 10, &[0]), "Format/Invalid"),
        ("an altered signature", flipped.into(), "Signature/BadSignature"),
        ("a byte short", first.bytes().slice(..last), "Format/Truncated"),
        ("a byte more", [&first.bytes()[..], &[0]].concat().into(), "Format/Trailing"),
        ("empty", Bytes::new(), "Format/Truncated"),
    ];
    let alone = alone.map(|(name, bytes, expected)| refuse(name, None, bytes, expected));
    let later = later(first, second, third).into_iter();
    alone
        .into_iter()
        .chain(later.map(|(name, before, bytes, error)| refuse(name, Some(before), bytes, error)))
        .collect()
}

fn refuse(name: &str, before: Option<&Epoch>, bytes: Bytes, expected: &str) -> Value {
    let mut case = given(name, before, &bytes);
    case["error"] = refused(verified(before, &bytes), expected);
    case
}

type Later<'a> = (&'static str, &'a Epoch, Bytes, &'static str);

fn later<'a>(first: &'a Epoch, second: &'a Epoch, third: &'a Epoch) -> Vec<Later<'a>> {
    let members = &second.members;
    let (owner, stranger) = (device(), DeviceKey::from_bytes(&[0x99; 32]));
    let changed = |at: usize, change: &dyn Fn(&mut Member)| {
        let mut members = members.clone();
        change(&mut members[at]);
        signed(second, &members, &[], &owner)
    };
    let nobody_owns: Vec<_> = members.iter().map(|m| Member { role: Role::Member, ..m.clone() }).collect();
    let reversed: Vec<_> = members.iter().rev().cloned().collect();
    let twice = [&members[..1], members].concat();
    let back = [&members[..1], &third.members].concat();
    let gone = [members[0].node];
    let nodes = [third.members[0].node, third.members[0].node];
    vec![
        ("an epoch that skips one", first, third.bytes().clone(), "NotNext"),
        ("an epoch of another circle", second, resigned(third, 1, &[0]), "OtherCircle"),
        ("another past", second, resigned(third, PREVIOUS_AT, &[0, 0]), "OtherPast"),
        ("a nonce after the first", second, resigned(third, NONCE_AT, &[1]), "Format/Invalid"),
        ("signed by a stranger", second, signed(second, members, &[], &stranger), "NotOwner"),
        ("a member that joined earlier", second, changed(1, &|m| m.joined = 3), "Joined"),
        ("two members of one name", second, changed(1, &|m| m.name = members[0].name.clone()), "Format/Invalid"),
        ("nobody owns it", second, signed(second, &nobody_owns, &[], &owner), "Format/Invalid"),
        ("members out of order", second, signed(second, &reversed, &[], &owner), "Format/Invalid"),
        ("a member twice", second, signed(second, &twice, &[], &owner), "Format/Invalid"),
        ("a member that is revoked", second, signed(second, members, &gone, &owner), "Format/Invalid"),
        ("revoked twice", second, signed(second, &members[..1], &nodes, &owner), "Format/Invalid"),
        ("a revoked node that is back", third, signed(third, &back, &third.revoked, &owner), "Format/Invalid"),
        ("a revocation that is forgotten", third, signed(third, &third.members, &[], &owner), "Forgotten"),
        ("a stranger is revoked", second, signed(second, members, &[stranger.id()], &owner), "NotMember"),
        ("no members at all", second, signed(second, &[], &[], &owner), "Format/Invalid"),
    ]
}
