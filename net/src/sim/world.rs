//! The event loop: one heap of what happens when, and who is told.

mod devices;
mod nodes;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use cairn_block::{DeviceId, PlacementKey};

use super::checks::Checks;
use super::device::Device;
use super::faults::{Fault, Faults};
use super::network::{Message, Network};
use super::node::{Facts, Node};
use super::{HOUR, MINUTE, Options, Outcome, PACK_STEP, Pack, QUIET_HOURS, Time, Who};
use crate::code::{self, Code, Numbers};
use crate::placement::Anchors;
use crate::repair::Make;

const DEVICES: usize = 2;
/// Between two reports of a node.
const BEAT: Time = 30 * MINUTE;
/// How long a device waits for the answers to a hold.
const ASK: Time = 10 * MINUTE;
/// The longest that a write waits for its sync.
const SYNC: Time = 5000;
/// One in so many writes is followed by a crash before its sync.
const CRASH_ONE_IN: u64 = 60;

/// Something that happens at a time.
enum Step {
    Deliver { from: Who, to: Who, message: Message },
    Sync { node: usize, boot: u64 },
    Beat(usize),
    Made { node: usize, boot: u64, make: Make },
    Start { node: usize, boot: u64 },
    Flush(usize),
    Publish(usize),
    Retry(usize),
    Decide { device: usize, pack: Pack },
    Fault,
    CrashAt(usize),
    Quiet,
    Check,
}

pub(super) struct World {
    options: Options,
    rng: fastrand::Rng,
    now: Time,
    heap: BinaryHeap<Reverse<(Time, u64)>>,
    steps: BTreeMap<u64, Step>,
    planned: u64,
    facts: Facts,
    nodes: Vec<Node>,
    devices: Vec<Device>,
    network: Network,
    faults: Faults,
    checks: Checks,
    next_pack: Pack,
    outcome: Outcome,
}

impl World {
    pub(super) fn new(options: Options) -> Self {
        let mut rng = fastrand::Rng::with_seed(options.seed);
        let nodes = options.nodes.clamp(5, 64);
        // At least two spares, as two may be gone; always two losses to survive.
        let codes = [(1, 2), (2, 2), (4, 2), (8, 2)];
        let fits: Vec<Code> =
            codes.into_iter().flat_map(|(k, m)| code::of(k, m)).filter(|code| code.total() + 2 <= nodes).collect();
        let code = fits[rng.usize(0..fits.len())];
        let zones: Vec<String> = (0..nodes).map(|n| format!("zone {}", n % nodes.div_ceil(2))).collect();
        let ids: Vec<DeviceId> = (0..nodes).map(|n| DeviceId::from_bytes([n as u8; 32])).collect();
        let sizes: Vec<u64> = (0..nodes).map(|_| rng.u64(1..4) << 40).collect();
        let anchors = Anchors::new((0..nodes).map(|n| (ids[n], zones[n].as_str(), sizes[n])));
        let devices: Vec<DeviceId> = (0..DEVICES).map(|n| DeviceId::from_bytes([200 + n as u8; 32])).collect();
        let key = Arc::new(PlacementKey::from_bytes([rng.u8(..); 32]));
        let facts = Facts { code, key, anchors: Arc::new(anchors), devices, guards: options.guards };
        let mut world = World {
            options,
            rng,
            now: 0,
            heap: BinaryHeap::new(),
            steps: BTreeMap::new(),
            planned: 0,
            nodes: ids.iter().map(|id| Node::new(*id, &facts)).collect(),
            devices: facts.devices.iter().map(|id| Device::new(*id)).collect(),
            network: Network::default(),
            faults: Faults::new(nodes, DEVICES, code.parity()),
            checks: Checks::new(code),
            facts,
            next_pack: PACK_STEP,
            outcome: Outcome::default(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.say(|world| format!("{} nodes, {}", world.nodes.len(), world.facts.code));
        for node in 0..self.nodes.len() {
            let at = self.rng.u64(0..BEAT);
            self.at(at, Step::Beat(node));
        }
        for device in 0..DEVICES {
            let at = self.rng.u64(0..HOUR);
            self.at(at, Step::Flush(device));
            self.at(at + 2 * HOUR, Step::Publish(device));
            self.at(at + HOUR, Step::Retry(device));
        }
        self.at(HOUR, Step::Fault);
        self.at(HOUR, Step::Check);
        let quiet = self.options.hours.saturating_sub(QUIET_HOURS) * HOUR;
        self.at(quiet, Step::Quiet);
    }

    pub(super) fn run(mut self) -> Outcome {
        let end = self.options.hours * HOUR;
        while let Some(Reverse((at, number))) = self.heap.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.outcome.steps += 1;
            if let Some(step) = self.steps.remove(&number) {
                self.step(step);
            }
        }
        let needed = self.needed();
        self.checks.nothing_is_lost(&needed, &self.nodes, self.now);
        self.checks.everything_is_whole(&needed, &self.nodes);
        self.outcome.acknowledged = self.checks.count();
        self.outcome.violations = self.checks.violations;
        self.outcome
    }

    fn at(&mut self, at: Time, step: Step) {
        // Of steps at one time the one that was planned first comes first.
        let number = self.planned;
        self.planned += 1;
        self.steps.insert(number, step);
        self.heap.push(Reverse((at, number)));
    }

    fn say(&mut self, line: impl FnOnce(&World) -> String) {
        if self.options.log {
            let (hours, minutes) = (self.now / HOUR, self.now % HOUR / MINUTE);
            let line = format!("{hours:3}:{minutes:02} {}", line(self));
            self.outcome.log.push(line);
        }
    }

    fn is_quiet(&self) -> bool {
        self.now + QUIET_HOURS * HOUR >= self.options.hours * HOUR
    }

    /// What any device's tree needs.
    fn needed(&self) -> BTreeSet<Pack> {
        self.devices.iter().flat_map(|device| device.live.iter().copied()).collect()
    }

    fn send(&mut self, from: Who, to: Who, message: Message) {
        if let Some(at) = self.network.arrival(&mut self.rng, from, to, self.now) {
            self.at(at, Step::Deliver { from, to, message });
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Deliver { from, to: Who::Node(node), message } if self.nodes[node].up => {
                self.at_node(node, from, message)
            }
            Step::Deliver { to: Who::Device(device), message, .. } if self.devices[device].up => {
                self.at_device(device, message)
            }
            Step::Deliver { .. } => {}
            Step::Sync { node, boot } if self.nodes[node].boot == boot => self.sync(node),
            Step::Made { node, boot, make } if self.nodes[node].boot == boot => self.make(node, &make),
            Step::Start { node, boot } if self.nodes[node].boot == boot => self.start(node),
            Step::Sync { .. } | Step::Made { .. } | Step::Start { .. } => {}
            Step::Beat(node) => self.beat(node),
            Step::Flush(device) => self.flush(device),
            Step::Publish(device) => self.publish(device),
            Step::Retry(device) => self.retry(device),
            Step::Decide { device, pack } => self.decide(device, pack),
            Step::Fault => self.fault(),
            Step::CrashAt(node) => self.crash_now(node),
            Step::Quiet => self.quiet(),
            Step::Check => {
                let needed = self.needed();
                self.checks.nothing_is_lost(&needed, &self.nodes, self.now);
                self.at(self.now + HOUR, Step::Check);
            }
        }
    }

    fn fault(&mut self) {
        let next = self.rng.u64(20 * MINUTE..5 * HOUR);
        self.at(self.now + next, Step::Fault);
        if !self.is_quiet()
            && let Some(fault) = self.faults.next(&mut self.rng, self.now)
        {
            self.suffer(fault);
        }
    }

    /// A crash just when something is being written.
    fn crash_now(&mut self, node: usize) {
        let away = self.rng.u64(MINUTE..HOUR);
        if !self.is_quiet()
            && self.nodes[node].up
            && let Some(fault) = self.faults.crash(node, false, away, self.now)
        {
            self.suffer(fault);
        }
    }

    fn suffer(&mut self, fault: Fault) {
        self.say(|_| format!("{fault:?}"));
        match fault {
            Fault::Crash { node, wiped, away } => {
                self.outcome.crashes += 1;
                self.nodes[node].crash(wiped, &self.facts);
                if wiped {
                    self.outcome.wiped += 1;
                    self.checks.wiped(node);
                } else {
                    self.checks.crashed(node, &self.nodes[node], self.now);
                }
                let boot = self.nodes[node].boot;
                self.at(self.now + away, Step::Start { node, boot });
            }
            Fault::Block { from, to, time } => {
                self.outcome.blocked += 1;
                self.network.block(from, to, self.now + time);
            }
            Fault::Away { device, time } => {
                let device = &mut self.devices[device];
                (device.up, device.back) = (false, device.back.max(self.now + time));
                let back = device.back;
                self.at(back, Step::Quiet);
            }
        }
    }

    /// Devices whose time is over are back; when faults are over, everybody and every direction is.
    fn quiet(&mut self) {
        let (now, is_quiet) = (self.now, self.is_quiet());
        self.devices.iter_mut().filter(|device| is_quiet || device.back <= now).for_each(|device| device.up = true);
        if is_quiet {
            (0..self.nodes.len()).for_each(|node| self.start(node));
            self.network = Network::default();
        }
    }
}
