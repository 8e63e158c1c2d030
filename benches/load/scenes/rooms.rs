//! Many small rooms in which everyone talks: what a message costs where there is hardly anything to share.

use std::time::Duration;

use crate::audience::{Audience, Layout, Seats};
use crate::failure::Failure;
use crate::options::Dialect;
use crate::pairs::ratios;
use crate::plan::Setting;
use crate::results::{Measure, SceneKind, SceneResult};

use super::{audiences, dialect, number, results, take_turns, titled};

/// How long unhurried clients take over what each read brought. With it the harness is slower than the server is with this scene, and than
/// the floor anyway, so all are given the same load.
const LOOK: Duration = Duration::from_micros(4);

/// One line is on its way in each room, by its members in turns.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    /// How many rooms.
    pub(crate) count: usize,
    /// Members of each.
    pub(crate) members: usize,
    /// How the clients talk.
    pub(crate) dialect: Dialect,
    /// Lines have ids.
    pub(crate) ids: bool,
    /// Bytes of a message.
    pub(crate) message_bytes: usize,
    /// Clients take their time, so that each subject has the same load and none all it can take.
    pub(crate) unhurried: bool,
}

impl Rooms {
    /// What it is called.
    pub(crate) fn title(&self) -> String {
        let load = if self.unhurried { ", the same load" } else { "" };
        titled(&format!("rooms of {}{load}", self.members), self.dialect, self.ids)
    }

    /// Runs it.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        let layout = Layout {
            receivers: self.count * self.members,
            talkers: self.members,
            rooms: self.count,
            seats: Seats::Apart(self.members),
            dialect: self.dialect,
            ids: self.ids,
            message_bytes: self.message_bytes,
            laggards: 0,
        };
        let mut audiences = audiences(setting, &layout, &[])?;
        if self.unhurried {
            for audience in &mut audiences {
                audience.crowd.take_time(LOOK);
            }
        }
        let rounds = take_turns(setting, &mut audiences, Audience::each_room)?;
        audiences.iter().try_for_each(Audience::finish)?;
        let subjects = results(&mut audiences, rounds);
        let measures = [Measure::CpuPerMessage, Measure::DeliveriesPerSecond, Measure::LatencyP50, Measure::LatencyP99];
        let ratios = ratios(&subjects, &measures);
        Ok(SceneResult {
            kind: SceneKind::Rooms,
            title: self.title(),
            parameters: vec![
                number("rooms", self.count),
                number("members", self.members),
                number("message_bytes", self.message_bytes),
                dialect(self.dialect, self.ids),
            ],
            subjects,
            ratios,
        })
    }
}
