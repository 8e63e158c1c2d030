//! One subject with all who listen to it, some of whom talk: what `fanout`, `rooms` and `slow` have in common. It connects
//! them, says lines in a closed or an open loop, lets the oracle judge each that arrives, and notes how long it took.

use std::ops::Range;
use std::time::Duration;

use crate::crowd::{Crowd, Event, Patience, handshake};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::kernel;
use crate::latency::Latencies;
use crate::options::Dialect;
use crate::oracle::MARK_BYTES;
use crate::pairs::of;
use crate::results::{Measure, Round};
use crate::subject::{Order, Subject};

/// How long to wait for events where nothing else is due.
const IDLE: Duration = Duration::from_millis(100);

/// Those who lag read one byte of so many.
const LAG: u64 = 10;

/// They read so much at a time.
const LAG_STEP_BYTES: u64 = 4_096;

/// Who is in which room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seats {
    /// Everybody is in all rooms.
    All,
    /// Each room has so many members, and nobody is in two.
    Apart(usize),
    /// Each room has so many members, whoever is next: most are in several. Only `chinwag.v1` clients know how.
    Spread(usize),
}

/// Who listens, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// How many connections there are.
    pub(crate) receivers: usize,
    /// How many talk: of all, in all rooms, or of each room's members.
    pub(crate) talkers: usize,
    /// How many rooms there are.
    pub(crate) rooms: usize,
    /// Who is in them.
    pub(crate) seats: Seats,
    /// How they connect; only the server knows another way than the plain one.
    pub(crate) dialect: Dialect,
    /// Each line has an id.
    pub(crate) ids: bool,
    /// Bytes of each message.
    pub(crate) message_bytes: usize,
    /// So many of the last receivers have a narrow link, are not waited for, and read only what they are allowed.
    pub(crate) laggards: usize,
}

/// Who says what where.
#[derive(Clone, Copy, Debug)]
struct Voice {
    client: usize,
    room: usize,
}

/// A subject, and all who listen to it.
#[derive(Debug)]
pub(crate) struct Audience {
    pub(crate) subject: Subject,
    pub(crate) crowd: Crowd,
    pub(crate) desk: Desk,
    /// Of all rounds that count.
    pub(crate) latencies: Latencies,
    layout: Layout,
    voices: Vec<Voice>,
    /// Who talks next.
    turn: usize,
    in_flight: usize,
    /// Clients to whom something is to be sent.
    touched: Vec<usize>,
    text: Vec<u8>,
}

impl Audience {
    /// Connects everybody, and waits until all are where they belong.
    pub(crate) fn gather(subject: Subject, layout: Layout) -> Result<Self, Failure> {
        let mut crowd = Crowd::new(subject.address)?;
        crowd.narrow(layout.receivers - layout.laggards);
        let mut audience = Self {
            crowd,
            desk: Desk::default(),
            latencies: Latencies::default(),
            voices: Vec::new(),
            turn: 0,
            in_flight: 0,
            touched: Vec::new(),
            text: Vec::new(),
            subject,
            layout,
        };
        let name = audience.subject.name.clone();
        audience.connect().map_err(|failure| failure.at(&name))?;
        audience.seat();
        Ok(audience)
    }

    fn speaks_v1(&self) -> bool {
        self.subject.is_chinwag && self.layout.dialect == Dialect::V1
    }

    fn connect(&mut self) -> Result<(), Failure> {
        let Layout { receivers, rooms, seats, .. } = self.layout;
        let all_seats = self.layout.seats();
        self.desk.all_there_key = format!(r#""online_count":{receivers},"#).into_bytes();
        let v1 = self.speaks_v1();
        let chinwag = self.subject.is_chinwag;
        let paths: Vec<String> = (0..rooms).map(|room| self.subject.path(&room_name(room))).collect();
        let Self { crowd, desk, .. } = self;
        let layout = self.layout.clone();
        let request = |client: usize| {
            let room = if let Seats::Apart(members) = seats { client / members } else { 0 };
            handshake(&paths[room], v1.then_some("chinwag.v1"))
        };
        crowd.connect_all(receivers, request, |crowd, client, event| {
            if matches!(event, Event::Opened) && chinwag {
                for text in greetings(v1, &layout.rooms_of(client)) {
                    crowd.send(client, text.as_bytes())?;
                }
            }
            desk.hear(crowd, client, event)
        })?;
        if !chinwag {
            return Ok(());
        }
        let patience = Patience::new("all are welcomed and in their rooms");
        let joined = if v1 { all_seats + receivers } else { all_seats - receivers };
        // The rooms' notices of who came follow up to a second later.
        let notices = if seats != Seats::All || receivers == 1 { 0 } else { rooms };
        while desk.welcomes < receivers || desk.joined < joined || desk.all_there < notices {
            crowd.turn(Some(IDLE), &mut |crowd, client, event| desk.hear(crowd, client, event))?;
            patience.check()?;
        }
        Ok(())
    }

    /// Tells the oracle who is in which room, and who will talk.
    fn seat(&mut self) {
        let Layout { receivers, talkers, rooms, seats, laggards, ids, .. } = self.layout;
        // What is no server of ours has one room for those who are in the same rooms.
        let streams = if self.subject.is_chinwag || seats != Seats::All { rooms } else { 1 };
        let oracle = &mut self.desk.oracle;
        let per_talker = self.subject.order == Order::EachTalker;
        if !per_talker {
            for _ in 0..streams {
                oracle.add_stream();
            }
        }
        self.voices = match seats {
            Seats::Apart(members) => (0..rooms * talkers)
                .map(|voice| Voice { client: voice / talkers * members + voice % talkers, room: voice / talkers })
                .collect(),
            // First one of each room, then another.
            Seats::Spread(members) => (0..rooms * talkers)
                .map(|voice| (voice % rooms, voice / rooms))
                .map(|(room, place)| Voice { client: (room * members + place) % receivers, room })
                .collect(),
            Seats::All => interleaved(talkers, rooms),
        };
        for voice in &self.voices {
            let stream = if per_talker { oracle.add_stream() } else { voice.room % streams };
            let talker = oracle.add_talker(stream);
            if ids && self.subject.is_chinwag {
                oracle.expect_acknowledgements(talker, voice.client);
            }
        }
        let all: Vec<usize> = (0..if per_talker { self.voices.len() } else { streams }).collect();
        for client in 0..receivers {
            let own = if seats == Seats::All { all.clone() } else { self.layout.rooms_of(client) };
            self.desk.oracle.add_reader(&own, client < receivers - laggards);
        }
        self.desk.prompt = receivers - laggards;
        self.desk.seated = true;
    }

    /// Says a line; it goes with the next [`flush`](Self::flush).
    pub(crate) fn say(&mut self, voice: usize, time: u64) {
        let Voice { client, room } = self.voices[voice];
        let text = &mut self.text;
        text.clear();
        text.extend_from_slice(br#"{"type":"chat","#);
        if self.layout.rooms > 1 && !matches!(self.layout.seats, Seats::Apart(_)) {
            text.extend_from_slice(format!(r#""room":"{}","#, room_name(room)).as_bytes());
        }
        text.extend_from_slice(br#""message":""#);
        let at = text.len();
        text.resize(at + self.layout.message_bytes, b'x');
        self.desk.oracle.say(voice, time, &mut text[at..]);
        if self.layout.ids {
            text.extend_from_slice(br#"","id":""#);
            text.extend_from_within(at + 1..at + MARK_BYTES);
        }
        text.extend_from_slice(br#""}"#);
        self.crowd.queue_text(client, text);
        if self.touched.last() != Some(&client) {
            self.touched.push(client);
        }
        self.in_flight += 1;
    }

    /// Sends what was said, and hands on what came, for `timeout` at most.
    pub(crate) fn turn(&mut self, timeout: Duration) -> Result<(), Failure> {
        for client in self.touched.drain(..) {
            self.crowd.flush(client)?;
        }
        let (crowd, desk) = (&mut self.crowd, &mut self.desk);
        crowd.turn(Some(timeout), &mut |crowd, client, event| desk.hear(crowd, client, event))
    }

    /// Takes notice of the lines that are complete.
    fn settle(&mut self) -> usize {
        let count = self.desk.completed.len();
        self.in_flight -= count;
        count
    }

    /// Whether every line has arrived everywhere, and was acknowledged if it has an id.
    pub(crate) fn is_level(&self) -> bool {
        let acks = if self.layout.ids && self.subject.is_chinwag { self.desk.oracle.said() } else { 0 };
        self.in_flight == 0 && self.desk.acks >= acks
    }

    /// Waits until it is level.
    pub(crate) fn until_level(&mut self) -> Result<(), Failure> {
        let patience = Patience::new("lines arrive");
        while !self.is_level() {
            self.turn(IDLE)?;
            self.settle();
            self.desk.completed.clear();
            patience.check()?;
        }
        Ok(())
    }

    /// The last round counts: its latencies belong to the result.
    pub(crate) fn keep_latencies(&mut self) {
        self.desk.latencies.pour_into(&mut self.latencies);
    }

    /// Keeps `window` messages on their way for `length`, then waits for the last. Voices take turns.
    pub(crate) fn closed_loop(&mut self, window: usize, length: Duration) -> Result<Round, Failure> {
        self.measured(|audience| audience.keep_talking(window, length, |_, _| Ok(true)))
    }

    /// The same, while `lagging` clients read a tenth of what is said, and until some `behind_bytes_max` wait for each of
    /// them. After the round they get the rest.
    pub(crate) fn closed_loop_with_laggards(
        &mut self,
        window: usize,
        length: Duration,
        lagging: Range<usize>,
        behind_bytes_max: u64,
    ) -> Result<Round, Failure> {
        let mut allowed = 0;
        let laggards = lagging.clone();
        let round = self.measured(|audience| {
            audience.keep_talking(window, length, |audience, said| {
                let bytes = said * audience.desk.frame_bytes as u64;
                if bytes / LAG >= allowed + LAG_STEP_BYTES {
                    allowed = bytes / LAG;
                    laggards.clone().try_for_each(|client| audience.allow(client, LAG_STEP_BYTES))?;
                }
                Ok(bytes < behind_bytes_max)
            })
        })?;
        lagging.clone().try_for_each(|client| self.allow(client, u64::MAX))?;
        let patience = Patience::new("those who lag get the rest");
        while lagging.clone().any(|client| self.desk.oracle.place(client) < self.desk.oracle.stream_len(0)) {
            self.turn(IDLE)?;
            patience.check()?;
        }
        lagging.clone().try_for_each(|client| self.allow(client, 0))?;
        Ok(round)
    }

    /// `go_on` is told how many lines were said in this round, and whether it ends early.
    fn keep_talking(
        &mut self,
        window: usize,
        length: Duration,
        mut go_on: impl FnMut(&mut Self, u64) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut end = self.crowd.now() + length.as_nanos() as u64;
        let before = self.desk.oracle.said();
        let mut patience = Patience::new("lines arrive");
        loop {
            let now = self.crowd.now();
            while now < end && self.in_flight < window {
                self.say(self.turn, now);
                self.turn = (self.turn + 1) % self.voices.len();
            }
            if now >= end && self.is_level() {
                return Ok(());
            }
            self.turn(IDLE)?;
            patience.go_on(self.settle() > 0)?;
            self.desk.completed.clear();
            if !go_on(self, self.desk.oracle.said() - before)? {
                end = 0;
            }
        }
    }

    /// Lets a client read so many bytes, and no more; see [`Crowd::allow`].
    pub(crate) fn allow(&mut self, client: usize, bytes: u64) -> Result<(), Failure> {
        let (crowd, desk) = (&mut self.crowd, &mut self.desk);
        crowd.allow(client, bytes, |crowd, client, event| desk.hear(crowd, client, event))
    }

    /// Lets everybody read all, and waits until all have got everything or were sent away.
    pub(crate) fn read_rest(&mut self) -> Result<(), Failure> {
        (0..self.crowd.len()).try_for_each(|client| self.allow(client, u64::MAX))?;
        let patience = Patience::new("everybody gets everything");
        while self.desk.oracle.finish().is_err() {
            self.turn(IDLE)?;
            patience.check()?;
        }
        Ok(())
    }

    /// Each voice says its next line as soon as everybody has its last one, for `length`; within a room they take turns.
    pub(crate) fn each_room(&mut self, length: Duration) -> Result<Round, Failure> {
        let each = self.layout.talkers;
        self.measured(|audience| {
            let now = audience.crowd.now();
            let end = now + length.as_nanos() as u64;
            for room in 0..audience.layout.rooms {
                audience.say(room * each, now);
            }
            let mut patience = Patience::new("lines arrive");
            loop {
                audience.turn(IDLE)?;
                patience.go_on(audience.settle() > 0)?;
                let now = audience.crowd.now();
                let completed = std::mem::take(&mut audience.desk.completed);
                for &voice in completed.iter().filter(|_| now < end) {
                    let (room, within) = (voice / each, voice % each);
                    audience.say(room * each + (within + 1) % each, now);
                }
                audience.desk.completed = completed;
                audience.desk.completed.clear();
                if now >= end && audience.is_level() {
                    return Ok(());
                }
            }
        })
    }

    /// Says `rate` lines a second for `length`, whether the others have arrived or not. Latency counts from when a line
    /// was to be said, so one that had to wait for the harness itself is not flattered.
    pub(crate) fn open_loop(&mut self, rate: f64, length: Duration) -> Result<Round, Failure> {
        self.measured(|audience| {
            let begin = audience.crowd.now();
            let end = begin + length.as_nanos() as u64;
            let due = |number: u32| begin + Duration::from_secs_f64(f64::from(number) / rate).as_nanos() as u64;
            let mut patience = Patience::new("lines arrive");
            let mut said = 0;
            loop {
                let now = audience.crowd.now();
                while due(said) <= now.min(end) {
                    audience.say(audience.turn, due(said));
                    audience.turn = (audience.turn + 1) % audience.voices.len();
                    said += 1;
                }
                let more = due(said) <= end;
                if !more && audience.is_level() {
                    return Ok(());
                }
                let wait =
                    if more { Duration::from_nanos(due(said).saturating_sub(audience.crowd.now())) } else { IDLE };
                audience.turn(wait.min(IDLE))?;
                patience.go_on(audience.settle() > 0)?;
                audience.desk.completed.clear();
            }
        })
    }

    /// Runs something, and measures the subject meanwhile.
    pub(crate) fn measured(&mut self, run: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<Round, Failure> {
        let name = self.subject.name.clone();
        self.measure(run).map_err(|failure| failure.at(&name))
    }

    fn measure(&mut self, run: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<Round, Failure> {
        // What other rounds left to do is done: Pings that came meanwhile are answered.
        self.turn(Duration::ZERO)?;
        self.desk.latencies.clear();
        let (deliveries, said) = (self.desk.deliveries, self.desk.oracle.said());
        let (cpu, begin) = (kernel::cpu_ns(&self.subject.processes)?, self.crowd.now());
        run(self)?;
        let wall_s = (self.crowd.now() - begin) as f64 / 1e9;
        // The end of the subject's turn, after its last line has arrived.
        std::thread::sleep(Duration::from_millis(1));
        let cpu_s = (kernel::cpu_ns(&self.subject.processes)? - cpu) as f64 / 1e9;
        let memory = kernel::memory(&self.subject.processes)?;
        let deliveries = self.desk.deliveries - deliveries;
        let said = self.desk.oracle.said() - said;
        let mut figures = vec![
            // In small rooms hardly anything is shared, so a message is what counts.
            match self.layout.seats {
                Seats::Apart(_) | Seats::Spread(_) => of(Measure::CpuPerMessage, cpu_s * 1e6 / said as f64),
                Seats::All => of(Measure::CpuPerDelivery, cpu_s * 1e6 / deliveries as f64),
            },
            of(Measure::DeliveriesPerSecond, deliveries as f64 / wall_s),
            of(Measure::DeliveriesPerCpuSecond, deliveries as f64 / cpu_s),
        ];
        figures.extend(self.desk.latencies.figures());
        figures.push(of(Measure::UserBytes, memory.user_bytes as f64));
        figures.push(of(Measure::ResidentBytes, memory.resident_bytes as f64));
        if self.desk.times_acks {
            figures.insert(0, of(Measure::StoredPerSecond, said as f64 / wall_s));
        }
        Ok(Round { wall_s, cpu_s, deliveries, figures })
    }

    /// Judges the end: whatever was said must have come everywhere.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        let judged = self.desk.oracle.finish();
        judged.map_err(|violation| Failure::Violation(violation.to_string()).at(&self.subject.name))
    }
}

impl Layout {
    /// How many seats there are in all rooms.
    fn seats(&self) -> usize {
        match self.seats {
            Seats::All => self.receivers * self.rooms,
            Seats::Apart(_) => self.receivers,
            Seats::Spread(members) => self.rooms * members,
        }
    }

    /// The rooms that a client is in.
    fn rooms_of(&self, client: usize) -> Vec<usize> {
        match self.seats {
            Seats::All => (0..self.rooms).collect(),
            Seats::Apart(members) => vec![client / members],
            Seats::Spread(members) => {
                (client..self.rooms * members).step_by(self.receivers).map(|seat| seat / members).collect()
            }
        }
    }
}

/// Every talker in every room, so that those who follow each other are of different talkers and different rooms.
fn interleaved(talkers: usize, rooms: usize) -> Vec<Voice> {
    // Both counts go round together until they meet; then the rooms are shifted by one.
    let meet = (1..=rooms).map(|times| times * talkers).find(|lines| lines % rooms == 0).unwrap_or(talkers);
    let voice = |line: usize| Voice { client: line % talkers, room: (line + line / meet) % rooms };
    (0..talkers * rooms).map(voice).collect()
}

/// The name of a room of ours.
pub(crate) fn room_name(room: usize) -> String {
    format!("bench-{room}")
}

/// What a client says first to be in these rooms, of which it is in the first by its path if it is a plain one.
fn greetings(v1: bool, rooms: &[usize]) -> Vec<String> {
    if v1 {
        let rooms: Vec<String> = rooms.iter().map(|&room| format!(r#"{{"room":"{}"}}"#, room_name(room))).collect();
        return vec![format!(r#"{{"type":"hello","rooms":[{}]}}"#, rooms.join(","))];
    }
    rooms.iter().skip(1).map(|&room| format!(r#"{{"type":"join","room":"{}"}}"#, room_name(room))).collect()
}
