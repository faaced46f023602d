//! What two devices changed at the same time.

use crate::control::events::Reporter;
use crate::control::routes::{Conflict, Nothing, VolumeQuestion};
use crate::errors::{Failure, Kind, Outcome};
use crate::node::open::Node;
use crate::text::Name;

/// Lists the versions that are kept beside others.
pub(crate) fn conflicts(node: &Node, question: VolumeQuestion, reporter: &Reporter) -> Outcome<Nothing> {
    let open = node.existing_volume(&question.volume)?;
    let found = open.volume.conflicts()?;
    for sibling in found.siblings {
        let (path, sibling, device) = (sibling.primary, sibling.path, sibling.device);
        reporter.item(&Conflict { path: Name(path.to_vec()), sibling: Name(sibling.to_vec()), device })?;
    }
    if !found.is_all {
        let more = Failure::new(Kind::Partial, "there are more than are listed");
        reporter.trouble(Name(b"/".to_vec()), more.hint("settle some, and list them again"))?;
    }
    Ok(Nothing {})
}
