//! Joining a circle by a code: who invites and who joins, as machines without I/O. `docs/WIRE.md` has the exchange.
//!
//! The code is short, so it must be worth little to somebody who tries: each exchange is one guess, an invitation
//! survives three of them and ten minutes, and it ends with the first success. SPAKE2 sees to it that an observer, or a man in
//! the middle, learns nothing from which more than that one guess could be tested.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::circle::{Class, Member, Role};
use cairn_block::limits::{EPOCH_BYTES_MAX, EPOCHS_KEPT, MEMBER_TEXT_BYTES_MAX};
use cairn_block::{DecodeError, DeviceId, Reader, Writer, unwrap, wrap};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::wire::circle::{Whereabouts, decode_whereabouts, encode_whereabouts};
use crate::wire::join::{CONFIRMATION_BYTES, PAKE_BYTES, SECRET_BYTES_MAX, WELCOME_EPOCHS_BYTES_MAX};

/// How long a code is good.
pub const CODE_LASTS: Duration = Duration::from_secs(600);
/// Guesses that an invitation survives: a slip of the finger, twice.
pub const TRIES_MAX: u8 = 3;

const CONFIRM_CONTEXT: &str = "cairn 2026-11 join confirmation";
const SEAL_CONTEXT: &str = "cairn 2026-11 join seal";
const PURPOSE: &str = "join";

/// A one-time code: four digits and two words, 35 bits.
pub struct Code(Zeroizing<String>);

impl Code {
    /// A new one.
    pub fn generate() -> Result<Code, getrandom::Error> {
        let words = bip39::Language::English.word_list();
        let digits = uniform(10_000)?;
        let (one, two) = (words[uniform(2048)?], words[uniform(2048)?]);
        Ok(Code(Zeroizing::new(format!("{digits:04}-{one}-{two}"))))
    }

    /// What somebody typed: case, spaces around and the kind of separator don't matter. None if it can't be a code.
    pub fn parse(typed: &str) -> Option<Code> {
        let typed = Zeroizing::new(typed.trim().to_lowercase());
        let parts: Vec<&str> = typed.split(|c: char| c == '-' || c.is_whitespace()).filter(|p| !p.is_empty()).collect();
        let [digits, one, two] = parts[..] else { return None };
        let is_word = |word: &str| bip39::Language::English.find_word(word).is_some();
        let is_code = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()) && is_word(one) && is_word(two);
        is_code.then(|| Code(Zeroizing::new(format!("{digits}-{one}-{two}"))))
    }

    /// The same code again: it is shown, and it is compared.
    pub(crate) fn copy(&self) -> Code {
        Code(self.0.clone())
    }

    /// The text, to be shown to a person and to nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn password(&self) -> Password {
        Password::new(self.0.as_bytes())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

/// A number below `limit`, each as likely.
fn uniform(limit: u32) -> Result<usize, getrandom::Error> {
    let fair = u32::MAX - u32::MAX % limit;
    loop {
        let number = getrandom::u32()?;
        if number < fair {
            return Ok((number % limit) as usize);
        }
    }
}

/// Why an exchange ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JoinError {
    /// The other side doesn't know the code.
    #[error("the code is wrong, or was used already")]
    WrongCode,
    /// The invitation is too old.
    #[error("the code has expired")]
    Expired,
    /// The other side sent what no node of ours sends.
    #[error("the other node doesn't keep to the protocol")]
    Protocol,
}

impl From<DecodeError> for JoinError {
    fn from(_: DecodeError) -> JoinError {
        JoinError::Protocol
    }
}

/// What a node wants to be. What it may do is not its to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name in the circle.
    pub name: String,
    /// What it fails together with.
    pub zone: String,
    /// Bytes that it stores for others.
    pub capacity: u64,
    /// Whether it is mostly on.
    pub class: Class,
}

impl Request {
    /// The member that this makes of a node.
    pub fn member(self, node: DeviceId, role: Role) -> Member {
        let Request { name, zone, capacity, class } = self;
        // Signing puts right when it joined.
        Member { node, name, zone, capacity, role, class, joined: 1 }
    }

    fn encode(&self) -> Result<Vec<u8>, JoinError> {
        let mut out = Writer::with_capacity(160);
        out.bytes8("name", MEMBER_TEXT_BYTES_MAX, self.name.as_bytes()).map_err(|_| JoinError::Protocol)?;
        out.bytes8("zone", MEMBER_TEXT_BYTES_MAX, self.zone.as_bytes()).map_err(|_| JoinError::Protocol)?;
        out.u64(self.capacity).u8(self.class as u8);
        Ok(out.into_vec())
    }

    /// Only the shape is checked here; whether an epoch may hold such a member is the epoch's business.
    fn decode(plain: &[u8]) -> Result<Request, JoinError> {
        let mut input = Reader::new(plain);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| JoinError::Protocol);
        let name = text(input.bytes8("name", MEMBER_TEXT_BYTES_MAX)?)?;
        let zone = text(input.bytes8("zone", MEMBER_TEXT_BYTES_MAX)?)?;
        let capacity = input.u64("capacity")?;
        let class = match input.u8("class")? {
            0 => Class::Anchor,
            1 => Class::Roaming,
            _ => return Err(JoinError::Protocol),
        };
        input.finish("request to join")?;
        Ok(Request { name, zone, capacity, class })
    }
}

/// What a new member is given.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The newest epochs, each the one before the next; the last one is trusted because the code was.
    pub epochs: Vec<Bytes>,
    /// Something that only the new member gets to know, such as the master key for another device of the same person.
    pub secret: Option<Zeroizing<Vec<u8>>>,
    /// Where members may be found.
    pub whereabouts: Whereabouts,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grant({} epochs)", self.epochs.len())
    }
}

impl Grant {
    /// Of the epochs the newest that there is room for.
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let (mut fit, mut bytes) = (0, 0);
        for epoch in self.epochs.iter().rev().take(EPOCHS_KEPT) {
            bytes += epoch.len();
            if bytes > WELCOME_EPOCHS_BYTES_MAX {
                break;
            }
            fit += 1;
        }
        let epochs = &self.epochs[self.epochs.len() - fit..];
        let secret = self.secret.as_ref().map_or(&[][..], |secret| &secret[..]);
        let mut rest = Writer::new();
        encode_whereabouts(&self.whereabouts, &mut rest);
        // All at once, so that no copy of the secret is left behind by growing.
        let length = 1 + epochs.iter().map(|epoch| 4 + epoch.len()).sum::<usize>() + 2 + secret.len() + rest.len();
        let mut out = Zeroizing::new(Vec::with_capacity(length));
        out.push(u8::try_from(fit).unwrap_or(u8::MAX));
        for epoch in epochs {
            out.extend_from_slice(&u32::try_from(epoch.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(epoch);
        }
        out.extend_from_slice(&u16::try_from(secret.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(secret);
        out.extend_from_slice(rest.as_slice());
        out
    }

    fn decode(plain: &[u8]) -> Result<Grant, JoinError> {
        let mut input = Reader::new(plain);
        let count = usize::from(input.u8("epochs")?);
        if count == 0 || count > EPOCHS_KEPT {
            return Err(JoinError::Protocol);
        }
        let one = |input: &mut Reader<'_>| input.bytes32("epoch", EPOCH_BYTES_MAX).map(Bytes::copy_from_slice);
        let epochs = (0..count).map(|_| one(&mut input)).collect::<Result<Vec<_>, _>>()?;
        let secret = input.bytes16("secret", SECRET_BYTES_MAX)?;
        let secret = (!secret.is_empty()).then(|| Zeroizing::new(secret.to_vec()));
        let whereabouts = decode_whereabouts(&mut input)?;
        input.finish("welcome")?;
        Ok(Grant { epochs, secret, whereabouts })
    }
}

/// The two ends of an exchange: they are authenticated by the connection already, and bound into the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Who invites.
    pub inviter: DeviceId,
    /// Who joins.
    pub joiner: DeviceId,
}

impl Ends {
    fn identities(&self) -> (Identity, Identity) {
        (Identity::new(self.inviter.as_bytes()), Identity::new(self.joiner.as_bytes()))
    }
}

/// An open invitation.
#[derive(Debug)]
pub struct Invitation {
    code: Code,
    expires: Instant,
    tries_left: u8,
    is_closed: bool,
}

impl Invitation {
    /// Opens one, for at most [`CODE_LASTS`].
    pub fn new(code: Code, now: Instant, lasts: Duration) -> Invitation {
        Invitation { code, expires: now + lasts.min(CODE_LASTS), tries_left: TRIES_MAX, is_closed: false }
    }

    /// When it ends by itself.
    pub const fn expires(&self) -> Instant {
        self.expires
    }

    /// Guesses that it still survives.
    pub const fn tries_left(&self) -> u8 {
        self.tries_left
    }

    /// Whether it may still be answered.
    pub fn check(&self, now: Instant) -> Result<(), JoinError> {
        self.check_open(now)?;
        if self.tries_left == 0 { Err(JoinError::WrongCode) } else { Ok(()) }
    }

    fn check_open(&self, now: Instant) -> Result<(), JoinError> {
        match () {
            () if self.is_closed => Err(JoinError::WrongCode),
            () if now >= self.expires => Err(JoinError::Expired),
            () => Ok(()),
        }
    }

    /// Answers a *hello* with a half of the exchange and a confirmation. It costs a try whatever comes after: with the answer
    /// the other side can test one guess, and cutting the line must not give that back.
    pub fn hello(
        &mut self,
        now: Instant,
        ends: Ends,
        hello: &[u8; PAKE_BYTES],
    ) -> Result<([u8; PAKE_BYTES], [u8; CONFIRMATION_BYTES], Asked), JoinError> {
        self.check(now)?;
        self.tries_left -= 1;
        let (inviter, joiner) = ends.identities();
        let (exchange, reply) = Spake2::<Ed25519Group>::start_a(&self.code.password(), &inviter, &joiner);
        let reply = half(&reply)?;
        let keys = Keys::of(exchange, ends, hello, [&hello[..], &reply[..]].concat())?;
        let confirmation = keys.confirmation(Side::Inviter);
        Ok((reply, confirmation, Asked { keys }))
    }

    /// Takes an *ask*. Who is taken closes the invitation ([`Invitation::close`]): one code, one member, however many began
    /// in time. Who isn't, though it knew the code, gets its try back ([`Invitation::give_back`]).
    pub fn ask(
        &mut self,
        now: Instant,
        asked: &Asked,
        confirmation: &[u8; CONFIRMATION_BYTES],
        sealed: &[u8],
    ) -> Result<Request, JoinError> {
        self.check_open(now)?;
        asked.keys.check(Side::Joiner, confirmation)?;
        Request::decode(&asked.keys.open(Side::Joiner, sealed)?)
    }

    /// Ends it.
    pub fn close(&mut self) {
        self.is_closed = true;
        self.code.0.zeroize();
    }

    /// The code was right and its holder couldn't be taken, for a reason that it may mend.
    pub fn give_back(&mut self) {
        self.tries_left = TRIES_MAX.min(self.tries_left + 1);
    }
}

/// Who invites, waiting for the *ask*.
#[derive(Debug)]
pub struct Asked {
    keys: Keys,
}

impl Asked {
    /// Seals what the one who asked is given.
    pub fn welcome(&self, grant: &Grant) -> Bytes {
        self.keys.seal(Side::Inviter, &grant.encode()).into()
    }
}

/// Who joins, having said *hello*.
pub struct Joining {
    exchange: Spake2<Ed25519Group>,
    hello: [u8; PAKE_BYTES],
    ends: Ends,
}

impl Joining {
    /// Begins; gives the *hello*.
    pub fn hello(code: &Code, ends: Ends) -> Result<(Joining, [u8; PAKE_BYTES]), JoinError> {
        let (inviter, joiner) = ends.identities();
        let (exchange, hello) = Spake2::<Ed25519Group>::start_b(&code.password(), &inviter, &joiner);
        let hello = half(&hello)?;
        Ok((Joining { exchange, hello, ends }, hello))
    }

    /// Takes the *reply*; gives the *ask*.
    pub fn reply(
        self,
        reply: &[u8; PAKE_BYTES],
        confirmation: &[u8; CONFIRMATION_BYTES],
        request: &Request,
    ) -> Result<(Asking, [u8; CONFIRMATION_BYTES], Bytes), JoinError> {
        let keys = Keys::of(self.exchange, self.ends, reply, [&self.hello[..], &reply[..]].concat())?;
        keys.check(Side::Inviter, confirmation)?;
        let sealed = keys.seal(Side::Joiner, &request.encode()?);
        Ok((Asking { keys: keys.clone() }, keys.confirmation(Side::Joiner), sealed.into()))
    }
}

/// Who joins, waiting for the *welcome*.
#[derive(Debug)]
pub struct Asking {
    keys: Keys,
}

impl Asking {
    /// What the inviter gives: it is trusted because the code was.
    pub fn welcome(&self, sealed: &[u8]) -> Result<Grant, JoinError> {
        Grant::decode(&self.keys.open(Side::Inviter, sealed)?)
    }
}

#[derive(Clone, Copy)]
enum Side {
    Inviter = 0,
    Joiner = 1,
}

/// What follows from the exchange.
#[derive(Clone)]
struct Keys {
    confirm: Zeroizing<[u8; 32]>,
    seal: Zeroizing<[u8; 32]>,
    /// Both halves, in the order they were sent.
    transcript: Vec<u8>,
    ends: Ends,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// `theirs` is the half that the other side sent; the crate refuses one of our own side.
    fn of(
        exchange: Spake2<Ed25519Group>,
        ends: Ends,
        theirs: &[u8; PAKE_BYTES],
        transcript: Vec<u8>,
    ) -> Result<Keys, JoinError> {
        let mut shared = exchange.finish(theirs).map_err(|_| JoinError::Protocol)?;
        let derive = |context| {
            let mut hasher = blake3::Hasher::new_derive_key(context);
            let key = *hasher.update(&shared).finalize().as_bytes();
            hasher.zeroize();
            Zeroizing::new(key)
        };
        let keys = Keys { confirm: derive(CONFIRM_CONTEXT), seal: derive(SEAL_CONTEXT), transcript, ends };
        shared.zeroize();
        Ok(keys)
    }

    fn confirmation(&self, side: Side) -> [u8; CONFIRMATION_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.confirm);
        hasher.update(&[side as u8]).update(&self.transcript);
        *hasher.finalize().as_bytes()
    }

    fn check(&self, side: Side, confirmation: &[u8; CONFIRMATION_BYTES]) -> Result<(), JoinError> {
        let right: bool = self.confirmation(side).ct_eq(confirmation).into();
        if right { Ok(()) } else { Err(JoinError::WrongCode) }
    }

    /// Both ends, and who seals: what one side sealed is no message of the other.
    fn owner(&self, side: Side) -> Vec<u8> {
        [&self.ends.inviter.as_bytes()[..], &self.ends.joiner.as_bytes()[..], &[side as u8]].concat()
    }

    fn seal(&self, side: Side, plain: &[u8]) -> Vec<u8> {
        wrap(&self.seal, PURPOSE, &self.owner(side), plain)
    }

    fn open(&self, side: Side, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, JoinError> {
        unwrap(&self.seal, PURPOSE, &self.owner(side), sealed).map_err(|_| JoinError::Protocol)
    }
}

/// A half of the exchange as the crate gives it.
fn half(bytes: &[u8]) -> Result<[u8; PAKE_BYTES], JoinError> {
    bytes.try_into().map_err(|_| JoinError::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> Ends {
        Ends { inviter: DeviceId::from_bytes([1; 32]), joiner: DeviceId::from_bytes([2; 32]) }
    }

    fn code(text: &str) -> Code {
        Code::parse(text).expect("a code")
    }

    fn request() -> Request {
        Request { name: "attic".into(), zone: "home".into(), capacity: 1 << 40, class: Class::Roaming }
    }

    fn grant() -> Grant {
        Grant {
            epochs: vec![Bytes::from_static(b"one"), Bytes::from_static(b"epoch")],
            secret: Some(Zeroizing::new(vec![7; SECRET_BYTES_MAX])),
            whereabouts: Whereabouts::from([(DeviceId::from_bytes([1; 32]), vec![([192, 0, 2, 1], 4242).into()])]),
        }
    }

    /// The whole exchange, as far as it gets.
    fn join(
        invitation: &mut Invitation,
        now: Instant,
        typed: &Code,
        said: Ends,
        heard: Ends,
    ) -> Result<Grant, JoinError> {
        let (joining, hello) = Joining::hello(typed, said)?;
        let (reply, confirmation, asked) = invitation.hello(now, heard, &hello)?;
        let (joined, confirmation, sealed) = joining.reply(&reply, &confirmation, &request())?;
        assert_eq!(invitation.ask(now, &asked, &confirmation, &sealed)?, request());
        invitation.close();
        joined.welcome(&asked.welcome(&grant()))
    }

    #[test]
    fn the_right_code_joins_once() {
        let now = Instant::now();
        let mut invitation = Invitation::new(code("0042-abandon-zoo"), now, CODE_LASTS);
        let typed = code("  0042 Abandon ZOO ");
        assert_eq!(join(&mut invitation, now, &typed, ends(), ends()), Ok(grant()));
        assert_eq!(join(&mut invitation, now, &typed, ends(), ends()), Err(JoinError::WrongCode));
    }

    #[test]
    fn a_wrong_code_is_found_out_by_who_joins_and_three_of_them_end_the_invitation() {
        let now = Instant::now();
        let mut invitation = Invitation::new(code("0042-abandon-zoo"), now, CODE_LASTS);
        for _ in 0..TRIES_MAX {
            let wrong = join(&mut invitation, now, &code("0043-abandon-zoo"), ends(), ends());
            assert_eq!(wrong, Err(JoinError::WrongCode));
        }
        let right = join(&mut invitation, now, &code("0042-abandon-zoo"), ends(), ends());
        assert_eq!(right, Err(JoinError::WrongCode));
    }

    #[test]
    fn cutting_the_line_after_the_reply_costs_a_try() {
        let now = Instant::now();
        let mut invitation = Invitation::new(code("0042-abandon-zoo"), now, CODE_LASTS);
        for _ in 0..TRIES_MAX {
            let (_, hello) = Joining::hello(&code("1111-able-able"), ends()).expect("hello");
            assert!(invitation.hello(now, ends(), &hello).is_ok());
        }
        assert_eq!(invitation.check(now), Err(JoinError::WrongCode));
    }

    #[test]
    fn of_two_who_begin_with_one_code_one_joins_and_the_third_try_may_be_the_right_one() {
        let now = Instant::now();
        let mut invitation = Invitation::new(code("0042-abandon-zoo"), now, CODE_LASTS);
        let mut begun = Vec::new();
        for _ in 0..TRIES_MAX {
            let (joining, hello) = Joining::hello(&code("0042-abandon-zoo"), ends()).expect("hello");
            let (reply, confirmation, asked) = invitation.hello(now, ends(), &hello).expect("reply");
            let (_, confirmation, sealed) = joining.reply(&reply, &confirmation, &request()).expect("ask");
            begun.push((asked, confirmation, sealed));
        }
        let (asked, confirmation, sealed) = begun.pop().expect("three");
        let late = now + CODE_LASTS;
        assert_eq!(invitation.ask(late, &asked, &confirmation, &sealed), Err(JoinError::Expired));
        assert_eq!(invitation.ask(now, &asked, &confirmation, &sealed), Ok(request()));
        invitation.close();
        for (asked, confirmation, sealed) in begun {
            assert_eq!(invitation.ask(now, &asked, &confirmation, &sealed), Err(JoinError::WrongCode));
        }
    }

    #[test]
    fn who_knew_the_code_and_is_not_taken_gets_its_try_back() {
        let now = Instant::now();
        let mut invitation = Invitation::new(code("0042-abandon-zoo"), now, CODE_LASTS);
        for _ in 0..2 * TRIES_MAX {
            let (joining, hello) = Joining::hello(&code("0042-abandon-zoo"), ends()).expect("hello");
            let (reply, confirmation, asked) = invitation.hello(now, ends(), &hello).expect("reply");
            let (_, confirmation, sealed) = joining.reply(&reply, &confirmation, &request()).expect("ask");
            assert_eq!(invitation.ask(now, &asked, &confirmation, &sealed), Ok(request()));
            assert_eq!(invitation.tries_left(), TRIES_MAX - 1);
            invitation.give_back();
        }
    }

    #[test]
    fn what_is_given_reads_back_and_only_the_newest_epochs_that_fit_go_out() {
        assert_eq!(Grant::decode(&grant().encode()), Ok(grant()));
        let plain = grant().encode();
        assert!((0..plain.len()).all(|len| Grant::decode(&plain[..len]).is_err()), "it is whole before its end");
        let large = |n| Bytes::from(vec![n; EPOCH_BYTES_MAX]);
        let given = Grant { epochs: (0..40).map(large).collect(), ..grant() };
        let back = Grant::decode(&given.encode()).expect("within the bounds");
        assert_eq!(back.epochs, (35..40).map(large).collect::<Vec<_>>());
        let given = Grant { epochs: (0..40).map(|n| Bytes::from(vec![n])).collect(), secret: None, ..grant() };
        let back = Grant::decode(&given.encode()).expect("within the bounds");
        assert_eq!((back.epochs.len(), &back.epochs[31][..], back.secret), (EPOCHS_KEPT, &[39][..], None));
    }

    #[test]
    fn a_code_expires() {
        let now = Instant::now();
        let mut invitation = Invitation::new(code("0042-abandon-zoo"), now, CODE_LASTS);
        let late = now + CODE_LASTS;
        assert_eq!(join(&mut invitation, late, &code("0042-abandon-zoo"), ends(), ends()), Err(JoinError::Expired));
    }

    #[test]
    fn a_man_in_the_middle_who_passes_the_messages_on_gets_nowhere() {
        let now = Instant::now();
        let mut invitation = Invitation::new(code("0042-abandon-zoo"), now, CODE_LASTS);
        let middle = DeviceId::from_bytes([3; 32]);
        let heard = Ends { joiner: middle, ..ends() };
        let tried = join(&mut invitation, now, &code("0042-abandon-zoo"), ends(), heard);
        assert_eq!(tried, Err(JoinError::WrongCode));
    }

    #[test]
    fn messages_of_the_other_side_or_altered_ones_are_refused() {
        let now = Instant::now();
        let mut invitation = Invitation::new(code("0042-abandon-zoo"), now, CODE_LASTS);
        let (joining, hello) = Joining::hello(&code("0042-abandon-zoo"), ends()).expect("hello");
        let (reply, confirmation, asked) = invitation.hello(now, ends(), &hello).expect("reply");
        let (joined, mine, sealed) = joining.reply(&reply, &confirmation, &request()).expect("ask");
        // What the inviter said, said back to it.
        assert_eq!(invitation.ask(now, &asked, &confirmation, &sealed), Err(JoinError::WrongCode));
        assert_eq!(joined.welcome(&sealed), Err(JoinError::Protocol));
        let mut altered = sealed.to_vec();
        altered[80] ^= 1;
        assert_eq!(invitation.ask(now, &asked, &mine, &altered), Err(JoinError::Protocol));
        // Its own half as the other one's.
        let (joining, hello) = Joining::hello(&code("0042-abandon-zoo"), ends()).expect("hello");
        assert!(joining.reply(&hello, &confirmation, &request()).is_err());
    }

    #[test]
    fn codes_are_typed_as_people_type_and_nothing_else_is_one() {
        let generated = Code::generate().expect("random bytes");
        assert!(Code::parse(generated.reveal()).is_some());
        assert_eq!(format!("{generated:?}"), "Code(..)");
        for text in
            ["", "42-abandon-zoo", "0042-abandon", "0042-abandon-zoo-zoo", "abcd-abandon-zoo", "0042-abandon-zzz"]
        {
            assert!(Code::parse(text).is_none(), "{text}");
        }
    }
}
