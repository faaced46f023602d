//! Heads and journals of the disk store. Which there are is in memory; their bytes are in the log.

use bytes::Bytes;
use cairn_block::limits::HEAD_BYTES_MAX;
use cairn_block::{Block, BlockId, DeviceId, VolumeId};

use super::catalog::{Change, HeadAt, HeadKey};
use super::inner::Inner;
use super::record::{Subject, place_bytes};
use super::store::DiskStore;
use super::writer::{Class, Record};
use crate::{BlockStore, HeadStore, StoreError, StoredHead};

impl HeadStore for DiskStore {
    fn put_head(&self, volume: &VolumeId, device: &DeviceId, seq: u64, head: &Bytes) -> Result<(), StoreError> {
        if head.len() > HEAD_BYTES_MAX {
            let (bytes, max) = (head.len() as u64, HEAD_BYTES_MAX as u64);
            return Err(StoreError::TooLarge { what: "head", bytes, max });
        }
        crate::head_store::check_number(seq)?;
        let (volume, device, id) = (*volume, *device, BlockId::of(head));
        let record =
            Record { subject: Subject::Head { volume, device, seq }, id, payload: head.clone(), class: Class::Keep };
        let inner = &*self.inner;
        let mut writer = inner.appender.writer(record.bytes())?;
        match inner.catalog.read().heads.get(&(volume, device, seq)) {
            Some(kept) if kept.id == id => return Ok(()),
            Some(_) => return Err(StoreError::HeadConflict { volume, device, seq }),
            None => {}
        }
        let change = |at| Change::Head { volume, device, seq, id, at };
        let (_, nudge) = inner.appender.append(&mut writer, &record, None, change)?;
        drop(writer);
        inner.nudge_on(nudge, record.bytes());
        Ok(())
    }

    fn heads(&self, volume: &VolumeId) -> Result<Vec<StoredHead>, StoreError> {
        let inner = &*self.inner;
        let from = (*volume, DeviceId::from_bytes([0; 32]), 0);
        let to = (*volume, DeviceId::from_bytes([0xff; 32]), u64::MAX);
        let kept: Vec<_> = {
            let catalog = inner.catalog.read();
            catalog.heads.range(from..=to).map(|(key, _)| *key).collect()
        };
        let mut heads = Vec::with_capacity(kept.len());
        for key in kept {
            let (_, device, seq) = key;
            heads.extend(inner.head_bytes(&key)?.map(|bytes| StoredHead { device, seq, bytes }));
        }
        Ok(heads)
    }

    fn drop_heads(&self, volume: &VolumeId, heads: &[(DeviceId, u64)]) -> Result<(), StoreError> {
        // A tombstone names the place that dies; until a head is durable its place can change.
        self.sync()?;
        heads.iter().try_for_each(|(device, seq)| self.inner.drop_head(*volume, *device, *seq))
    }

    fn append_delta(&self, volume: &VolumeId, seq: u64, block: &Block) -> Result<(), StoreError> {
        crate::head_store::check_number(seq)?;
        let inner = &*self.inner;
        let (volume, id) = (*volume, block.id());
        let _protected = inner.protect(&id);
        let settled = inner.catalog.read().settled;
        let found = inner.find(&id)?;
        let record =
            Record { subject: Subject::Delta { volume, seq }, id, payload: block.bytes().clone(), class: Class::Keep };
        let mut writer = inner.appender.writer(record.bytes())?;
        let last = inner.catalog.read().journals.get(&volume).map_or(0, |journal| journal.last());
        if seq <= last {
            return Err(StoreError::DeltaOutOfOrder { volume, seq, last });
        }
        let is_new = inner.find_again(&id, found, settled).is_none();
        let change = |at| Change::Delta { volume, seq, id, at, is_new };
        let (_, nudge) = inner.appender.append(&mut writer, &record, Some(block), change)?;
        drop(writer);
        inner.heal(&id);
        inner.nudge_on(nudge, record.bytes());
        Ok(())
    }

    fn deltas(&self, volume: &VolumeId, after: u64) -> Result<Vec<(u64, BlockId)>, StoreError> {
        let catalog = self.inner.catalog.read();
        let Some(journal) = catalog.journals.get(volume) else { return Ok(Vec::new()) };
        let later = journal.deltas.iter().skip_while(|(seq, _)| **seq <= after);
        Ok(later.map(|(seq, (_, id))| (*seq, *id)).collect())
    }

    fn trim_deltas(&self, volume: &VolumeId, upto: u64) -> Result<(), StoreError> {
        crate::head_store::check_number(upto)?;
        let inner = &*self.inner;
        let volume = *volume;
        let payload = Bytes::new();
        let record =
            Record { subject: Subject::Trim { volume, upto }, id: BlockId::of(&payload), payload, class: Class::Keep };
        let mut writer = inner.appender.writer(record.bytes())?;
        let trimmed = inner.catalog.read().journals.get(&volume).map_or(0, |journal| journal.trimmed);
        if upto <= trimmed {
            return Ok(());
        }
        let change = |at| Change::Trim { volume, upto, at };
        let (_, nudge) = inner.appender.append(&mut writer, &record, None, change)?;
        drop(writer);
        inner.nudge_on(nudge, record.bytes());
        Ok(())
    }

    fn last_delta(&self, volume: &VolumeId) -> Result<u64, StoreError> {
        Ok(self.inner.catalog.read().journals.get(volume).map_or(0, |journal| journal.last()))
    }

    fn volumes(&self) -> Result<Vec<VolumeId>, StoreError> {
        let catalog = self.inner.catalog.read();
        let with_heads = catalog.heads.keys().map(|(volume, _, _)| *volume);
        let with_deltas = catalog.journals.iter().filter(|(_, journal)| !journal.deltas.is_empty());
        let mut volumes: Vec<_> = with_heads.chain(with_deltas.map(|(volume, _)| *volume)).collect();
        volumes.sort_unstable();
        volumes.dedup();
        Ok(volumes)
    }
}

impl Inner {
    /// A head's bytes; `None` if it was dropped meanwhile. Of a damaged one there are none: it must not hide the others, and
    /// whoever collects has to know that there is one.
    fn head_bytes(&self, key: &HeadKey) -> Result<Option<Bytes>, StoreError> {
        let mut tried = None;
        loop {
            let Some(head) = self.catalog.read().heads.get(key).copied() else { return Ok(None) };
            if let Some(bytes) = self.head_at(&head)? {
                return Ok(Some(bytes));
            }
            // Not written yet, perhaps, and never will be if the disk is full: reading must work then, too.
            if let Some(bytes) = self.appender.unsynced(&head.id) {
                return Ok(Some(bytes));
            }
            // Once more, in case it was synced or a collection moved it just now.
            if tried.replace(head) == Some(head) {
                let (volume, device, seq) = key;
                tracing::error!(%volume, %device, seq, "a head is damaged");
                return Ok(Some(Bytes::new()));
            }
        }
    }

    /// What lies where a head should; `None` if it is something else.
    fn head_at(&self, head: &HeadAt) -> Result<Option<Bytes>, StoreError> {
        match self.log.segments.read(&self.log.device, head.at) {
            Ok(Some(bytes)) if BlockId::of(&bytes) == head.id => Ok(Some(Bytes::from(bytes))),
            Ok(_) => Ok(None),
            Err(error @ StoreError::TooManyFiles { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "a head cannot be read");
                Ok(None)
            }
        }
    }

    fn drop_head(&self, volume: VolumeId, device: DeviceId, seq: u64) -> Result<(), StoreError> {
        let Some(head) = self.catalog.read().heads.get(&(volume, device, seq)).copied() else { return Ok(()) };
        let payload = Bytes::copy_from_slice(&place_bytes(head.at.segment, head.at.offset));
        let record = Record {
            subject: Subject::DropHead { volume, device, seq },
            id: BlockId::of(&payload),
            payload,
            class: Class::Keep,
        };
        let mut writer = self.appender.writer(record.bytes())?;
        if self.catalog.read().heads.get(&(volume, device, seq)) != Some(&head) {
            // A collection has moved it in between.
            drop(writer);
            return self.drop_head(volume, device, seq);
        }
        let change = |_| Change::DropHead { volume, device, seq };
        let (_, nudge) = self.appender.append(&mut writer, &record, None, change)?;
        drop(writer);
        self.nudge_on(nudge, record.bytes());
        Ok(())
    }
}
