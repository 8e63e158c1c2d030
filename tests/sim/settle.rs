//! What must have happened by the end of a step: nothing that was due is missing, whoever is gone is gone everywhere.

use chinwag::chat::{ConnId, Millis};

use crate::hold;
use crate::model::{Model, Move, Verdict, Waiting};
use crate::turn::{Input, Step};

impl Model {
    /// Judges what must have happened by the end of a step.
    pub fn settle(&mut self, step: &Step) -> Verdict {
        if let Some(due) = self.current.due.first() {
            return Err(format!("an answer is missing: {due:?}"));
        }
        if let Some(conn) = self.current.settling {
            self.depart_or_wait(conn)?;
        }
        for moved in std::mem::take(&mut self.current.moves) {
            self.judge_move(step, &moved)?;
        }
        let told = self.current.rename_told.take();
        let renamed = self.current.renamed.take().filter(|(.., others)| !others.is_empty());
        hold!(told == renamed, "a rename: told {told:?}, and should be {renamed:?}");
        let mut closes = step.closes.clone();
        closes.sort_unstable_by_key(|&(conn, _)| conn);
        self.current.closes.sort_unstable_by_key(|&(conn, _)| conn);
        hold!(closes == self.current.closes, "{closes:?} were closed, and should be {:?}", self.current.closes);
        if matches!(step.input, Input::Tick) {
            self.judge_tallies(step.now.mono_ms)?;
        }
        self.unloaded(step)
    }

    /// Whoever has no more answers to wait for is gone, or has left, or is renamed.
    fn depart_or_wait(&mut self, conn: ConnId) -> Verdict {
        let Some(user) = self.users.get(&conn).filter(|user| user.outstanding == 0) else { return Ok(()) };
        if !user.gone {
            let late = matches!(user.waiting, Some(Waiting::Leave { .. } | Waiting::Rename { .. }));
            hold!(!late, "the last line was answered and {:?} did not come about", user.waiting);
            return Ok(());
        }
        for room in user.rooms.clone() {
            self.exit(&room, conn);
        }
        let user = self.users.remove(&conn).expect("it was just there");
        self.ids.remove(&user.id);
        if let Some(name) = user.name {
            self.names.remove(&name.key());
        }
        self.said.retain(|(id, ..), _| *id != user.id);
        Ok(())
    }

    fn judge_move(&mut self, step: &Step, moved: &Move) -> Verdict {
        let told_max = self.limits.members_told_max;
        if moved.told {
            hold!(moved.least <= told_max, "a single move was told in a room of {}", moved.most);
            return Ok(());
        }
        if moved.most <= told_max {
            hold!(!moved.others, "nobody was told: {moved:?}");
            return Ok(());
        }
        self.coverage.note("a move in a large room");
        if moved.most > 200 {
            self.coverage.note("a move in a room of more than 200");
        }
        let room = self.rooms.get_mut(&moved.room).expect("it was just there");
        if room.tally == (0, 0) {
            room.tally_since = step.now.mono_ms;
        }
        if moved.came {
            room.tally.0 += 1;
        } else {
            room.tally.1 += 1;
        }
        Ok(())
    }

    fn judge_tallies(&mut self, mono_ms: Millis) -> Verdict {
        for (name, room) in &mut self.rooms {
            if room.tally == (0, 0) || mono_ms < room.tally_since + 1_000 {
                continue;
            }
            let readers = room.members.iter().any(|conn| !self.users[conn].gone);
            hold!(!readers, "{name}: {:?} came and went and nobody was told", room.tally);
            room.tally = (0, 0);
        }
        Ok(())
    }
}
