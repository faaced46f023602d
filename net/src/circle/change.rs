//! What an owner may change, and what follows for the list of members. No I/O.

use cairn_block::DeviceId;
use cairn_block::circle::{Class, Epoch, Member, Role};

use super::CircleError;
use crate::join::Request;

/// One change of a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new member, which has to hear of it some other way; who joins by a code needs no such change.
    Add {
        /// The node.
        node: DeviceId,
        /// What it wants to be.
        request: Request,
        /// What it may do.
        role: Role,
    },
    /// A member goes.
    Remove {
        /// The node.
        node: DeviceId,
        /// It never comes back under the same key: lost, stolen, or no friend any more.
        is_revoked: bool,
    },
    /// A member may do something else.
    Role(DeviceId, Role),
    /// A member is called otherwise.
    Name(DeviceId, String),
    /// A member fails together with others than before.
    Zone(DeviceId, String),
    /// A member stores more or less for others, in bytes.
    Capacity(DeviceId, u64),
    /// A member is on more or less than before.
    Class(DeviceId, Class),
}

impl Change {
    /// Everybody who is in the circle after it, and everybody who never is again.
    pub(super) fn apply(self, newest: &Epoch) -> Result<(Vec<Member>, Vec<DeviceId>), CircleError> {
        let (mut members, mut revoked) = (newest.members.clone(), newest.revoked.clone());
        let taken = |name: &str, node: &DeviceId| {
            let is_taken = newest.members.iter().any(|member| member.name == name && member.node != *node);
            if is_taken { Err(CircleError::NameTaken(name.to_owned())) } else { Ok(()) }
        };
        let at = |members: &[Member], node: &DeviceId| {
            members.iter().position(|member| member.node == *node).ok_or(CircleError::NoSuchMember)
        };
        match self {
            Change::Add { node, request, role } => {
                if newest.is_revoked(&node) {
                    return Err(CircleError::Revoked);
                }
                if newest.member(&node).is_some() {
                    return Err(CircleError::AlreadyMember);
                }
                taken(&request.name, &node)?;
                members.push(request.member(node, role));
            }
            Change::Remove { node, is_revoked } => {
                let at = at(&members, &node)?;
                members.remove(at);
                revoked.extend(is_revoked.then_some(node));
            }
            Change::Name(node, name) => {
                taken(&name, &node)?;
                let at = at(&members, &node)?;
                members[at].name = name;
            }
            Change::Role(node, role) => {
                let at = at(&members, &node)?;
                members[at].role = role;
            }
            Change::Zone(node, zone) => {
                let at = at(&members, &node)?;
                members[at].zone = zone;
            }
            Change::Capacity(node, capacity) => {
                let at = at(&members, &node)?;
                members[at].capacity = capacity;
            }
            Change::Class(node, class) => {
                let at = at(&members, &node)?;
                members[at].class = class;
            }
        }
        if members.iter().any(|member| member.role == Role::Owner) {
            Ok((members, revoked))
        } else {
            Err(CircleError::LastOwner)
        }
    }
}
