//! Some read at a tenth of the rate and stay, some never read: what the others notice of it, and what memory it costs. The
//! floor is the same server without them.

use crate::audience::{Audience, Layout, Seats};
use crate::failure::Failure;
use crate::options::Dialect;
use crate::pairs::ratios;
use crate::plan::Setting;
use crate::results::{SceneKind, SceneResult};

use super::{RATIOS, number, results, server, take_turns};

/// What may wait for one who reads slowly, in bytes: below the server's limit of 1 MiB, so that it stays.
const BEHIND_BYTES_MAX: u64 = 700_000;

/// Everybody is in one room, and one of the quick ones talks.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    /// How many there are in all.
    pub(crate) receivers: usize,
    /// How many of them read at a tenth of the rate.
    pub(crate) lagging: usize,
    /// How many of them never read.
    pub(crate) stuck: usize,
    /// Messages that are on their way at a time.
    pub(crate) in_flight: usize,
    /// Bytes of a message.
    pub(crate) message_bytes: usize,
}

impl Slow {
    /// What it is called.
    pub(crate) fn title(&self) -> String {
        format!("slow: {} lag, {} never read", self.lagging, self.stuck)
    }

    /// Runs it.
    pub(crate) fn run(&self, setting: &Setting) -> Result<SceneResult, Failure> {
        let quick = self.receivers.saturating_sub(self.lagging + self.stuck).max(1);
        let layout = |receivers: usize| Layout {
            receivers,
            talkers: 1,
            rooms: 1,
            seats: Seats::All,
            dialect: Dialect::Plain,
            ids: false,
            message_bytes: self.message_bytes,
            laggards: receivers - quick,
        };
        let mut without = Audience::gather(server(setting, &[])?, layout(quick))?;
        "without them".clone_into(&mut without.subject.name);
        let mut all =
            vec![Audience::gather(server(setting, &[])?, layout(quick + self.lagging + self.stuck))?, without];
        let lagging = quick..quick + self.lagging;
        let stuck = quick + self.lagging..quick + self.lagging + self.stuck;
        for client in stuck {
            all[0].allow(client, 0)?;
        }
        all[0].desk.may_end = self.stuck > 0;
        let rounds = take_turns(setting, &mut all, |audience, length| {
            let lagging = if audience.crowd.len() > quick { lagging.clone() } else { 0..0 };
            audience.closed_loop_with_laggards(self.in_flight, length, lagging, BEHIND_BYTES_MAX)
        })?;
        // Those who never read are read now: what they have until they were closed has to be right, too.
        all[0].read_rest()?;
        all.iter().try_for_each(Audience::finish)?;
        let sent_away = all[0].desk.sent_away;
        let subjects = results(&mut all, rounds);
        let ratios = ratios(&subjects, &RATIOS);
        Ok(SceneResult {
            kind: SceneKind::Slow,
            title: self.title(),
            parameters: vec![
                number("in_flight", self.in_flight),
                number("receivers", self.receivers),
                number("lagging", self.lagging),
                number("stuck", self.stuck),
                number("sent_away", sent_away),
                number("message_bytes", self.message_bytes),
            ],
            subjects,
            ratios,
        })
    }
}
