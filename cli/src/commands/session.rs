//! What a command has at hand: the settings, how to print, and the node.

use std::ffi::OsStr;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Settings;
use crate::control::client::{Client, ClientError};
use crate::control::events::Event;
use crate::control::routes::{Route, Target};
use crate::errors::{Failure, Kind, Outcome};
use crate::node::layout::DataDir;
use crate::node::lifecycle;
use crate::output::Output;
use crate::progress::Bar;
use crate::text::Name;

/// One command.
pub(super) struct Session {
    pub(super) settings: Settings,
    pub(super) output: Output,
    client: Option<Client>,
}

impl Session {
    pub(super) fn new(settings: Settings, output: Output) -> Self {
        Self { settings, output, client: None }
    }

    /// The node's directory.
    pub(super) fn data_dir(&self) -> DataDir {
        DataDir::at(&self.settings.data_dir)
    }

    /// The node, started where it isn't running.
    pub(super) fn node(&mut self) -> Outcome<&mut Client> {
        let client = match self.client.take() {
            Some(client) => client,
            None => lifecycle::connect_or_start(&self.settings)?,
        };
        Ok(self.client.insert(client))
    }

    /// The node, where it is running.
    pub(super) fn running_node(&mut self) -> Outcome<Option<&mut Client>> {
        if self.client.is_none() {
            match Client::connect(&self.data_dir().socket()) {
                Err(ClientError::NotRunning) => return Ok(None),
                connected => self.client = Some(connected?),
            }
        }
        Ok(self.client.as_mut())
    }

    /// Forgets a connection that broke; the next question makes another.
    pub(super) fn reconnect(&mut self) {
        self.client = None;
    }

    /// Asks the node, which is started where it isn't running.
    pub(super) fn call<T: DeserializeOwned>(&mut self, route: Route, question: &impl Serialize) -> Outcome<T> {
        Ok(self.node()?.call(route, question)?)
    }

    /// Asks the node for something long: shows progress under the name `doing`, names troubles, hands items over.
    pub(super) fn stream<I: DeserializeOwned, T: DeserializeOwned>(
        &mut self,
        doing: &'static str,
        route: Route,
        question: &impl Serialize,
        mut on_item: impl FnMut(I) -> Outcome<()>,
    ) -> Outcome<T> {
        let output = self.output;
        let node = self.node()?;
        let bar = Bar::new(doing, output);
        let mut failed = None;
        let result = node.stream(route, question, |event| match event {
            Event::Progress(progress) => bar.show(&progress),
            Event::Trouble { path, failure } => bar.suspend(|| output.trouble(&path.shown(), &failure)),
            Event::Item { item } if failed.is_none() => {
                let item = serde_json::from_value(item)
                    .map_err(|error| Failure::new(Kind::Internal, format!("an item that can't be read: {error}")));
                failed = bar.suspend(|| item.and_then(&mut on_item).err());
            }
            Event::Item { .. } | Event::Done { .. } | Event::Failed { .. } => {}
        });
        drop(bar);
        match failed {
            Some(failure) => Err(failure),
            None => Ok(result?),
        }
    }

    /// A path of the volume as it was typed.
    pub(super) fn target(&self, path: &OsStr, at: Option<&str>) -> Target {
        let directory = std::env::current_dir().unwrap_or_default();
        Target {
            volume: self.settings.volume.clone(),
            path: Name::from(path),
            directory: Name::from(directory.as_path()),
            at: at.map(str::to_owned),
        }
    }
}

/// A path of this machine from the root, without following links. The end of the path is kept: `dir/` names a directory.
pub(super) fn absolute(path: &Path) -> Outcome<Name> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Failure::from(error).while_(format!("finding {}", path.display())))?;
    Ok(Name::from(absolute.as_path()))
}
