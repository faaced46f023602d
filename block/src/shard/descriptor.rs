//! Descriptors: how a pack was coded, and what each shard must hash to.

use crate::codec::{DecodeError, Reader, Writer};
use crate::id::{DescriptorId, PackId, ShardId};
use crate::pack::SizeClass;
use crate::shard::{Code, CodeError, CodeKind};

const VERSION: u8 = 1;

/// How a pack was coded, and what each shard must hash to. It holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    pack: PackId,
    class: SizeClass,
    code: Code,
    /// Of all shards; of copies one stands for all.
    ids: Vec<ShardId>,
    shard_bytes: u32,
}

impl Descriptor {
    /// The pack.
    pub const fn pack(&self) -> PackId {
        self.pack
    }

    /// The pack's class.
    pub const fn class(&self) -> SizeClass {
        self.class
    }

    /// The code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Bytes of each shard.
    pub const fn shard_bytes(&self) -> u32 {
        self.shard_bytes
    }

    /// What the shard with this number hashes to, if there is one.
    pub fn shard_id(&self, shard: u8) -> Option<ShardId> {
        let is_one = shard < self.code.shards();
        let at = if self.code.kind() == CodeKind::Copies { 0 } else { shard.into() };
        self.ids.get(at).copied().filter(|_| is_one)
    }

    /// The descriptor's id: what names it in manifests.
    pub fn id(&self) -> DescriptorId {
        DescriptorId::of(&self.encode())
    }

    /// Of a pack whose shards have these ids, in order; of copies the ids follow from the pack's.
    pub(crate) fn new(pack: PackId, class: SizeClass, code: Code, ids: Vec<ShardId>) -> Result<Self, CodeError> {
        let shard_bytes = code.shard_bytes(class)?;
        let ids = match code.kind() {
            CodeKind::Copies => vec![ShardId::from_bytes(*pack.as_bytes())],
            CodeKind::ReedSolomon => ids,
        };
        Ok(Descriptor { pack, class, code, ids, shard_bytes })
    }

    /// The descriptor's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(VERSION).raw(self.pack.as_bytes()).u8(self.class as u8);
        out.u8(self.code.kind() as u8).u8(self.code.k()).u8(self.code.m());
        if self.code.kind() == CodeKind::ReedSolomon {
            self.ids.iter().for_each(|id| {
                out.raw(id.as_bytes());
            });
        }
        out.into_vec()
    }

    /// Reads a descriptor. What it says of the pack is only as good as the one who named its id.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        input.version("descriptor", VERSION)?;
        let pack = PackId::from_bytes(input.array("descriptor pack")?);
        let class = SizeClass::from_u8(input.u8("descriptor class")?)?;
        let [kind, k, m] = input.array("descriptor code")?;
        let invalid = |_| DecodeError::invalid("descriptor code", "not a code of this class");
        let code = Code::from_numbers(kind, k, m).map_err(invalid)?;
        let listed = if code.kind() == CodeKind::ReedSolomon { code.shards() } else { 0 };
        let ids = (0..listed).map(|_| input.array("descriptor shard id").map(ShardId::from_bytes));
        let ids = ids.collect::<Result<_, _>>()?;
        input.finish("descriptor")?;
        Descriptor::new(pack, class, code, ids).map_err(invalid)
    }
}
