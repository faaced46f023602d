//! check, gc, why, debug.

use super::open::Node;
use crate::control::routes::DebugQuestion;
use crate::errors::{Failure, Kind, Outcome};
use crate::text;

/// Prints one structure, for a person who looks for something.
pub(crate) fn debug(node: &Node, question: DebugQuestion) -> Outcome<serde_json::Value> {
    use cairn_store::{Ask, BlockStore, HeadStore};
    let volume_id = node.volume_id(&question.volume);
    match question.what.as_str() {
        "store" => Ok(serde_json::json!({
            "stats": format!("{:?}", node.store.stats()),
            "health": format!("{:?}", node.store.health()),
            "damage": node.store.damage().iter().map(|damage| format!("{damage:?}")).collect::<Vec<_>>(),
            "opened": format!("{:?}", node.store.open_report()),
        })),
        "heads" => {
            let heads = node.existing_volume(&question.volume)?.volume.history()?;
            Ok(heads
                .iter()
                .map(|head| {
                    serde_json::json!({
                        "snapshot": super::history::describe(head),
                        "kind": format!("{:?}", head.kind),
                        "previous": text::to_hex(&head.previous),
                        "root": head.root.id.to_string(),
                        "journal_upto": head.delta_upto,
                        "vector": head.vector.iter().map(|(device, seq)| (device.short(), *seq)).collect::<Vec<_>>(),
                    })
                })
                .collect())
        }
        "deltas" => {
            let deltas = node.store.deltas(&volume_id, 0)?;
            Ok(deltas.iter().map(|(seq, id)| serde_json::json!({ "seq": seq, "block": id.to_string() })).collect())
        }
        id => {
            let id: cairn_block::BlockId = id.parse().map_err(|_| {
                Failure::new(Kind::Usage, format!("`{id}` is nothing that can be shown"))
                    .hint("heads, deltas, store, or a block's id (bafkr4i…)")
            })?;
            match node.store.get(&id, Ask::now(crate::transfer::tree::OPERATION_TIMEOUT))? {
                None => Err(Failure::new(Kind::NotFound, format!("block {id} is not in this store"))),
                Some(block) => {
                    Ok(serde_json::json!({ "id": id.to_string(), "sealed_bytes": block.len(), "verified": true }))
                }
            }
        }
    }
}
