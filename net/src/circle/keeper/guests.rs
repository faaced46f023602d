//! Who is invited, and who is taken.

use std::time::Instant;

use tokio::sync::watch;

use super::Keeper;
use super::orders::{Asks, Begun, Replied, Reply};
use crate::circle::inviting::Open;
use crate::circle::{Change, CircleError, Invite, InviteOffer, InviteState};
use crate::join::{Code, Ends, Grant, Invitation, JoinError};
use crate::wire::join::{PAKE_BYTES, SECRET_BYTES_MAX, Welcome};

impl Keeper {
    pub(super) fn invite(&mut self, offer: InviteOffer) -> Result<Invite, CircleError> {
        let chain = self.chain.as_ref().ok_or(CircleError::NoCircle)?;
        if !chain.newest().is_owner(&self.me) {
            return Err(CircleError::NotOwner);
        }
        match self.open.as_ref().map(|open| open.ended(Instant::now())) {
            Some(None) => return Err(CircleError::InvitationOpen),
            Some(Some(ended)) => self.close_invitation(ended),
            None => {}
        }
        if offer.secret.as_ref().is_some_and(|secret| secret.len() > SECRET_BYTES_MAX) {
            return Err(CircleError::SecretTooLong);
        }
        let code = Code::generate().map_err(|_| CircleError::NoRandomness)?;
        let invitation = Invitation::new(code.copy(), Instant::now(), offer.lasts);
        let expires = invitation.expires();
        let (told, state) = watch::channel(InviteState::Open { tries_left: invitation.tries_left() });
        self.rounds += 1;
        self.open = Some(Open { invitation, offer, told, under_way: 0, round: self.rounds });
        self.driver.doorman().admit_guests(true);
        Ok(Invite { code, expires, state })
    }

    pub(super) fn close_invitation(&mut self, state: InviteState) {
        if let Some(mut open) = self.open.take() {
            open.invitation.close();
            open.told.send_replace(state);
        }
        self.driver.doorman().admit_guests(false);
    }

    pub(super) fn hello(&mut self, ends: Ends, hello: &[u8; PAKE_BYTES]) -> Replied {
        let open = self.open.as_mut().ok_or(JoinError::WrongCode)?;
        let replied = open.invitation.hello(Instant::now(), ends, hello);
        open.under_way += usize::from(replied.is_ok());
        open.told.send_replace(InviteState::Open { tries_left: open.invitation.tries_left() });
        let round = open.round;
        replied.map(|(pake, confirmation, asked)| Reply { pake, confirmation, begun: Begun { asked, round } })
    }

    /// An exchange that a *hello* began is over.
    pub(super) fn exchange_ended(&mut self, round: u64) {
        let Some(open) = self.open.as_mut().filter(|open| open.round == round) else { return };
        open.under_way = open.under_way.saturating_sub(1);
        open.told.send_replace(InviteState::Open { tries_left: open.invitation.tries_left() });
        if let Some(ended) = open.ended(Instant::now()) {
            self.close_invitation(ended);
        }
    }

    pub(super) async fn ask(&mut self, asks: Asks) -> Option<Welcome> {
        let Asks { ends, begun: Begun { asked, round }, confirmation, sealed } = asks;
        let open = self.open.as_mut().filter(|open| open.round == round);
        let Some(open) = open else { return Some(Welcome::WrongCode) };
        let request = match open.invitation.ask(Instant::now(), &asked, &confirmation, &sealed) {
            Ok(request) => request,
            Err(JoinError::WrongCode) => return Some(Welcome::WrongCode),
            Err(JoinError::Expired) => return Some(Welcome::Expired),
            Err(JoinError::Protocol) => return None,
        };
        let role = open.offer.role;
        let node = ends.joiner;
        let mut name = request.name.clone();
        match self.propose(Change::Add { node, request, role }).await {
            Ok(_) => {}
            // It was taken before and didn't hear of it: it is what it was.
            Err(CircleError::AlreadyMember) => {
                let member = self.chain.as_ref().and_then(|chain| chain.newest().member(&node));
                name = member.map_or(name, |member| member.name.clone());
            }
            Err(error) => {
                tracing::warn!(%node, %error, "a node that knew the code was not taken");
                if let Some(open) = &mut self.open {
                    open.invitation.give_back();
                }
                return Some(match error {
                    CircleError::NameTaken(_) => Welcome::NameTaken,
                    CircleError::Revoked => Welcome::Revoked,
                    _ => Welcome::Refused,
                });
            }
        }
        let secret = self.open.as_mut().and_then(|open| open.offer.secret.take());
        self.close_invitation(InviteState::Joined { node, name });
        let chain = self.chain.as_ref()?;
        let epochs = chain.run(chain.oldest().number).map(|epoch| epoch.bytes().clone()).collect();
        Some(Welcome::In(asked.welcome(&Grant { epochs, secret, whereabouts: self.whereabouts() })))
    }
}
