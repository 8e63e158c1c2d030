//! What the two threads share at a terminal: what is to be shown above the line that is being typed, and what the prompt and
//! the completion have to know.
//!
//! # How a line comes in while another is being typed
//!
//! The line editor (rustyline) sleeps on the keyboard's thread, and knows how many rows the typed line takes. So what
//! comes in is not written by the socket's thread, but put into a queue, and the editor is poked: its external printer
//! makes it clear those rows and draw the prompt anew. The queue is written in front of the prompt, whenever it is drawn
//! ([`Desk::paint_prompt`]). So whatever makes the editor draw, in order and all at once; and a burst of lines costs one
//! redraw, not one for each.
//!
//! While nobody reads (between two lines), what comes in is written at once.
//!
//! The printer itself could carry the text, but it holds one and makes the next wait; and between its check of who writes
//! and the end of a line a text could stay behind until the next.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustyline::ExternalPrinter;
use unicode_width::UnicodeWidthStr as _;

use super::clean;
use super::paint::Paint;

/// Bytes that wait to be shown. More come in only while the editor is held up by half a key sequence; then the server
/// is not read either, as if the terminal were slow.
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// Names that are known for completion; those who spoke last come first.
const NAMES_MAX: usize = 1_000;

/// Columns of the room in the prompt.
const ROOM_COLUMNS_MAX: usize = 20;

/// What pokes the editor: it writes this over the rows it has cleared, and needs a newline at the end. A step up before
/// makes good for that.
const POKE: &str = "\x1b[A\n";

/// How long the last words may take to be drawn. The editor needs a millisecond; but it may be held up by half a key
/// sequence.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long to wait for the server's answer to a change of room, before the next prompt names the old one.
const ROOM_CHANGE: Duration = Duration::from_millis(300);

/// Shared between the threads.
pub(super) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
    /// Pokes the editor. There as soon as there is an editor.
    printer: Mutex<Option<Box<dyn ExternalPrinter + Send>>>,
    paint: Paint,
}

#[derive(Debug, Default)]
struct State {
    /// What the editor does: while it draws, what comes in goes to the queue.
    editor: Editor,
    /// Whether the editor was poked since it drew last.
    poked: bool,
    /// What is to be written in front of the prompt: whole lines.
    queue: String,
    /// Columns that the prompt being drawn has for the room.
    room_columns: usize,
    /// What the conversation said last.
    place: Place,
    /// Whether the server was reached once.
    was_connected: bool,
    /// How often it has said something.
    places: u64,
    /// Who was seen, the last first.
    names: VecDeque<String>,
    /// Whether all is over.
    ended: bool,
}

/// What the editor does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Editor {
    /// Nothing: what comes in is written at once.
    #[default]
    Away,
    /// It is about to take the terminal and draw the prompt.
    Begun,
    /// It waits for keys.
    Drawn,
}

/// Where one is: for the prompt and the completion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Own lines that were not acknowledged.
    pub(super) waiting: usize,
    /// The room that is spoken to.
    pub(super) room: Option<String>,
    /// All joined rooms.
    pub(super) rooms: Vec<String>,
    /// The own name.
    pub(super) name: String,
    /// Whether the server can be reached.
    pub(super) connected: bool,
}

impl Desk {
    /// An empty one.
    pub(super) fn new(paint: Paint) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), printer: Mutex::default(), paint }
    }

    /// Brings the editor's printer along, before the first line is read.
    pub(super) fn set_printer(&self, printer: Box<dyn ExternalPrinter + Send>) {
        *self.printer.lock().unwrap_or_else(PoisonError::into_inner) = Some(printer);
    }

    /// Shows whole lines, above the line that is being typed if there is one.
    ///
    /// # Errors
    /// The terminal's.
    pub(super) fn print(&self, text: &str) -> io::Result<()> {
        let mut state = self.state();
        while state.is_reading() && state.queue.len() > QUEUE_BYTES_MAX {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.is_reading() {
            return write(text);
        }
        state.queue.push_str(text);
        self.poke(state);
        Ok(())
    }

    /// Notes where one is, and draws the prompt anew if it shows that.
    pub(super) fn set_place(&self, place: Place) {
        let mut state = self.state();
        let shown = state.place.waiting != place.waiting || state.place.room != place.room;
        state.was_connected |= place.connected;
        state.place = place;
        state.places += 1;
        self.changed.notify_all();
        if shown && state.is_reading() {
            self.poke(state);
        }
    }

    /// Notes somebody's name, for completion. Names that nobody could type are not kept.
    pub(super) fn note_name(&self, name: &str) {
        if name.is_empty() || name.contains('"') || !clean::is_clean(name) {
            return;
        }
        let mut state = self.state();
        state.names.retain(|known| known != name);
        state.names.truncate(NAMES_MAX - 1);
        state.names.push_front(name.to_owned());
    }

    /// Where one is.
    pub(super) fn place(&self) -> Place {
        self.state().place.clone()
    }

    /// The names that `choose` says, those who spoke last first; `max` at most.
    pub(super) fn names(&self, max: usize, choose: impl Fn(&str) -> bool) -> Vec<String> {
        let state = self.state();
        let others = state.names.iter().filter(|name| **name != state.place.name && choose(name));
        others.take(max).cloned().collect()
    }

    /// How often the place was set: for [`wait_for_change`](Self::wait_for_change).
    pub(super) fn places(&self) -> u64 {
        self.state().places
    }

    /// Waits a moment for the place to be set once more than `places` times.
    pub(super) fn wait_for_change(&self, places: u64) {
        let unchanged = |state: &mut State| state.places == places && !state.ended;
        // Whether it changed or the time is over: the next prompt shows what is known.
        drop(self.changed.wait_timeout_while(self.state(), ROOM_CHANGE, unchanged));
    }

    /// The editor begins to draw, with this prompt: `lobby > `, or `> ` without a room. Its width stays until
    /// [`finish_line`](Self::finish_line). Waits until the server was reached once; `None` when all is over.
    pub(super) fn begin_line(&self) -> Option<String> {
        let mut state = self.state();
        while !state.ended && !state.was_connected {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended {
            return None;
        }
        state.editor = Editor::Begun;
        let room = shown_room(&state.place, ROOM_COLUMNS_MAX);
        state.room_columns = room.width();
        Some(format!("{room}{}", mark(0, state.room_columns > 0)))
    }

    /// Columns of the prompt.
    pub(super) fn prompt_columns(&self) -> usize {
        let room_columns = self.state().room_columns;
        room_columns + mark(0, room_columns > 0).width()
    }

    /// The prompt as it is drawn now, and before it what is to be shown. The rows of the old one are cleared already.
    pub(super) fn paint_prompt(&self, prompt: &str, is_own: bool) -> String {
        let mut state = self.state();
        (state.poked, state.editor) = (false, Editor::Drawn);
        let mut out = std::mem::take(&mut state.queue);
        if is_own {
            let room = shown_room(&state.place, state.room_columns);
            out.push_str(&self.paint.dim(&room));
            let padding = state.room_columns.saturating_sub(room.width());
            let mark = mark(state.place.waiting, state.room_columns > 0);
            let mark = if state.place.waiting == 0 { self.paint.dim(&mark) } else { self.paint.strong(&mark) };
            out.push_str(&" ".repeat(padding));
            out.push_str(&mark);
        } else {
            out.push_str(prompt);
        }
        self.changed.notify_all();
        out
    }

    /// The editor has stopped, one row below the typed line. The last `rows` rows are erased.
    ///
    /// # Errors
    /// The terminal's.
    pub(super) fn finish_line(&self, rows: usize) -> io::Result<()> {
        let mut state = self.state();
        state.editor = Editor::Away;
        let erase = if rows == 0 { String::new() } else { format!("\x1b[{rows}A\r\x1b[J") };
        let waiting = std::mem::take(&mut state.queue);
        self.changed.notify_all();
        write(&format!("{erase}{waiting}"))
    }

    /// All is over: what is to be shown is shown, the prompt erased, and no further line is read.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        self.changed.notify_all();
        // An editor that has begun and not drawn yet is about to take the terminal.
        let undrawn = |state: &mut State| match state.editor {
            Editor::Away => false,
            Editor::Begun => true,
            Editor::Drawn => state.poked || !state.queue.is_empty(),
        };
        let waited = self.changed.wait_timeout_while(state, LAST_WORDS, undrawn);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_reading() {
            // What is left: the editor was held up. The typed words above the cursor's row stay.
            let last = std::mem::take(&mut state.queue);
            let _ = write(&format!("\r\x1b[J{last}"));
        }
    }

    /// Makes the editor draw, unless it is going to anyway.
    fn poke(&self, mut state: MutexGuard<'_, State>) {
        let first = !std::mem::replace(&mut state.poked, true);
        // The printer may have to wait for the editor, and the editor for the state.
        drop(state);
        if first && let Some(printer) = &mut *self.printer.lock().unwrap_or_else(PoisonError::into_inner) {
            // It fails only if there is no editor any more.
            let _ = printer.print(POKE.to_owned());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole, also where a thread panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_reading(&self) -> bool {
        self.editor != Editor::Away
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("state", &self.state).field("paint", &self.paint).finish_non_exhaustive()
    }
}

/// What follows the room in the prompt: how many own lines wait, if any do. Three columns, or two without a room.
fn mark(waiting: usize, has_room: bool) -> String {
    let count = match waiting {
        0 => return if has_room { " > " } else { "> " }.to_owned(),
        1..=9 => char::from(b'0' + waiting as u8),
        _ => '+',
    };
    if has_room { format!("\u{22ef}{count} ") } else { format!("{count} ") }
}

/// The room in at most so many columns. Without a room: nothing.
fn shown_room(place: &Place, columns_max: usize) -> String {
    let room = clean::name(place.room.as_deref().unwrap_or_default());
    if room.width() <= columns_max {
        room
    } else if columns_max == 0 {
        String::new()
    } else {
        format!("{}\u{2026}", clean::keep_columns(&room, columns_max - 1))
    }
}

/// Writes to the terminal at once.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(room: &str, waiting: usize) -> Place {
        Place { waiting, room: Some(room.into()), rooms: vec![room.into()], name: "me".into(), connected: true }
    }

    fn desk() -> Desk {
        Desk::new(Paint::Bare)
    }

    fn begin(desk: &Desk) -> String {
        desk.begin_line().expect("it is not over")
    }

    #[test]
    fn what_comes_in_while_a_line_is_typed_is_drawn_before_the_prompt_in_order_and_once() {
        let desk = desk();
        desk.set_place(place("tea", 0));
        assert_eq!(begin(&desk), "tea > ");
        desk.print("one\n").unwrap();
        desk.print("two\n").unwrap();
        assert_eq!(desk.paint_prompt("tea > ", true), "one\ntwo\ntea > ");
        assert_eq!(desk.paint_prompt("tea > ", true), "tea > ");
        desk.print("three\n").unwrap();
        assert_eq!(desk.paint_prompt("(arg: 1) ", false), "three\n(arg: 1) ");
    }

    #[test]
    fn the_prompt_keeps_its_width_while_a_line_is_typed() {
        let desk = desk();
        desk.set_place(place("lobby", 0));
        let width = begin(&desk).width();
        assert_eq!(width, desk.prompt_columns());
        for (room, waiting, drawn) in [
            ("lobby", 1, "lobby⋯1 "),
            ("lobby", 9, "lobby⋯9 "),
            ("lobby", 10, "lobby⋯+ "),
            ("tea", 0, "tea   > "),
            ("engineering", 0, "engi… > "),
            ("茶话会室", 0, "茶话… > "),
        ] {
            desk.set_place(place(room, waiting));
            let prompt = desk.paint_prompt("", true);
            assert_eq!(prompt, drawn);
            assert_eq!(prompt.width(), width);
        }
        assert_eq!(begin(&desk), "茶话会室 > ");
        desk.set_place(Place { room: None, ..place("", 0) });
        assert_eq!(begin(&desk), "> ");
        for (waiting, drawn) in [(0, "> "), (3, "3 "), (10, "+ ")] {
            desk.set_place(Place { room: None, ..place("", waiting) });
            assert_eq!(desk.paint_prompt("", true), drawn);
            assert_eq!(desk.prompt_columns(), 2);
        }
    }

    #[test]
    fn a_prompt_is_short_and_clean() {
        let desk = desk();
        desk.set_place(place(&"x".repeat(64), 0));
        assert_eq!(begin(&desk), format!("{}… > ", "x".repeat(19)));
        desk.set_place(place("a\x1b[2Jb", 0));
        assert_eq!(begin(&desk), "a␛[2Jb > ");
        assert_eq!(desk.paint_prompt("", true), "a␛[2Jb > ");
    }

    #[test]
    fn who_spoke_last_is_completed_first_and_oneself_never() {
        let desk = desk();
        desk.set_place(place("tea", 0));
        for name in ["alice", "bob", "me", "alice", "ev\x1bil", "qu\"ote", ""] {
            desk.note_name(name);
        }
        assert_eq!(desk.names(10, |_| true), ["alice", "bob"]);
        assert_eq!(desk.names(10, |name| name.starts_with('b')), ["bob"]);
        assert_eq!(desk.names(1, |_| true), ["alice"]);
        for number in 0..2_000 {
            desk.note_name(&format!("n{number}"));
        }
        assert_eq!(desk.names(usize::MAX, |_| true).len(), NAMES_MAX);
    }

    #[test]
    fn no_line_is_waited_for_once_all_is_over() {
        let desk = desk();
        desk.set_place(place("tea", 0));
        desk.end();
        assert_eq!(desk.begin_line(), None);
        desk.wait_for_change(desk.places());
    }
}
