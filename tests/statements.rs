//! Each statement of `docs/PROTOCOL.md` has its test, which quotes it: `/// > words of docs/PROTOCOL.md`. Here it is held that
//! the page says what is quoted, and that all that it says is quoted; and the tables of its section 21 are tested, which say
//! of each command and each frame which fields it has.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use common::client::Client;
use common::page::{blocks, flatten, page, quotations, rust_files};
use common::server::Server;

/// What has no test, by how it begins: it says nothing of the server. How to read the page, reasons, what may change one
/// day, and what a client should do (`docs/CLIENTS.md` says how, and its examples are run).
const NOT_OF_THE_SERVER: &[&str] = &[
    "Chinwag is a chat server.",
    "Clients talk to it over WebSocket (RFC 6455), in JSON",
    "This page is all that is needed",
    "What it says is tested:",
    "What a client should do with it,",
    "| for | anyone with a WebSocket and no manual:",
    "Sections 1 to 13 are the plain contract.",
    "They hold for `chinwag.v1` too,",
    "Section 21 lists all commands",
    "`A>` is what client A sends,",
    "`A connect PATH` opens",
    "`A binary>` and `A binary<`",
    "Values that differ from run to run",
    "Everything else is meant literally,",
    "Fields may be added to every frame,",
    "`code`s never change their meaning;",
    "(So a page has to say `new WebSocket(url)`",
    "(On `chinwag.v1` it lasts: section 15.)",
    "(N joiners would cost N² frames.)",
    "No order is promised between rooms.",
    "Codes may be added:",
    "Where `retry` is true, ask again after a while;",
    "In all other cases come back after a random time",
    "(On `chinwag.v1`: section 20.4.)",
    "In short: who connects says who it is",
    "In a browser it is `new WebSocket",
    "So keep what the last `welcome` said,",
    "Ask `who` after coming back.",
    "After `recovered:false` lines in doubt",
    "How a client does 6 and 7 is in",
    "The connection breaks when a line was heard,",
    "A client that lists the members",
    "A browser cannot see Pings.",
    "So a client that has heard nothing for `heartbeat_ms`",
    "4500 and above are final, also those",
    "Of other codes that are not in this list",
    "RFC 6455 (WebSocket: subprotocols 1.9,",
];

/// Fields that no transcript shows: those of 1,000 users and of 200 are in `tests/many.rs` and `presence` of `tests/v1`.
const SHOWN_ELSEWHERE: &[(&str, &str)] = &[("presence", "more"), ("user_leave", "joined"), ("user_leave", "left")];

/// A sentence, or a table's row.
struct Statement {
    /// Where it begins.
    line: usize,
    text: String,
    /// Of section 21: the tests below read it.
    of_the_tables: bool,
}

#[test]
fn the_quotations_in_the_tests_are_on_the_page() {
    let flat = flatten(&page());
    let missing: Vec<String> = all_quotations()
        .iter()
        .filter(|(_, quotation)| !flat.contains(quotation))
        .map(|(file, quotation)| format!("{file}: {quotation:?}"))
        .collect();
    assert!(missing.is_empty(), "not in docs/PROTOCOL.md:\n{}", missing.join("\n"));
}

#[test]
fn each_statement_of_the_page_is_quoted_by_a_test() {
    let (quotations, statements) = (all_quotations(), statements(&page()));
    assert!(statements.len() > 300, "only {} statements were found", statements.len());
    let mut unused: BTreeSet<&str> = NOT_OF_THE_SERVER.iter().copied().collect();
    let mut untested = Vec::new();
    for Statement { line, text, of_the_tables } in &statements {
        let quoted = |quotation: &str| quotation.contains(&**text) || quotation.len() >= 12 && text.contains(quotation);
        if *of_the_tables || quotations.iter().any(|(_, quotation)| quoted(quotation)) {
            continue;
        }
        match NOT_OF_THE_SERVER.iter().find(|start| text.starts_with(**start)) {
            Some(start) => drop(unused.remove(start)),
            None => untested.push(format!("docs/PROTOCOL.md:{line}: {text}")),
        }
    }
    assert!(untested.is_empty(), "{} statements without a test:\n{}", untested.len(), untested.join("\n"));
    assert!(unused.is_empty(), "not on the page, or quoted: {unused:#?}");
}

/// > `?` marks what may be missing. Strings, unless said otherwise. `timestamp` is in every frame.
///
/// Every frame of every transcript (which are what the server does) has the fields of its row, in that order.
#[test]
fn frames_have_the_fields_of_the_table() {
    let table = table("| frame |");
    let mut unseen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for row in &table {
        assert!(row.fields.iter().any(|field| field.name == "timestamp" && !field.optional), "{:?}", row.names);
        unseen.extend(row.names.iter().flat_map(|name| row.fields.iter().map(move |field| (&**name, &*field.name))));
    }
    let mut frames = 0;
    for block in ["transcript", "json"].iter().flat_map(|language| blocks(language)) {
        for line in block.lines {
            let Some(start) = line.find("{\"type\"").filter(|&start| !line[..start].contains('>')) else { continue };
            let text = line[start..].replace(":<D>", ":0");
            let Keys(keys) = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {line}"));
            let kind = text.split('"').nth(3).expect("a type");
            let mut names = table.iter().flat_map(|row| row.names.iter().map(move |name| (row, name)));
            let (row, name) = names.find(|(_, name)| *name == kind).unwrap_or_else(|| panic!("no such row: {line}"));
            let mut fields = row.fields.iter();
            for key in &keys[1..] {
                let field = fields.by_ref().find(|field| field.name == *key || !field.optional);
                let field = field.filter(|field| field.name == *key);
                let field = field.unwrap_or_else(|| panic!("{key} has another place, or none: {line}"));
                unseen.remove(&(name, &field.name));
            }
            assert!(fields.all(|field| field.optional), "something is missing: {line}");
            frames += 1;
        }
    }
    assert!(frames > 200, "only {frames} frames were found");
    assert_eq!(unseen.into_iter().collect::<Vec<_>>(), SHOWN_ELSEWHERE, "no transcript shows these");
}

/// > What is marked *v1* is of `chinwag.v1` only.
///
/// Each command takes the fields of its row and looks at no other, needs those without `?`, and is answered as it says.
#[test]
fn commands_take_the_fields_of_the_table() {
    let server = Server::start(&["--rate", "0", "--hello-ms", "60000"]);
    let table = table("| command |");
    assert_eq!(table.len(), 10, "commands");
    let all: BTreeSet<&str> = table.iter().flat_map(|row| row.fields.iter().map(|field| &*field.name)).collect();
    let mut alice = server.join("alice", "tea", 1);
    for row in &table {
        let command = &*row.names[0];
        let mut stranger = (command == "hello").then(|| server.connect_v1("stranger", "/"));
        assert_eq!(stranger.is_some(), row.v1, "{command}");
        let client = stranger.as_mut().unwrap_or(&mut alice);
        for field in ["ref"].into_iter().chain(all.iter().copied()) {
            let known = field == "ref" || row.fields.iter().any(|other| other.name == field);
            if known || command != "hello" {
                let wrong = if field == "rooms" { json!(7) } else { json!([]) };
                let answer = ask(client, row, Some((field, Some(wrong))));
                assert_eq!(answer == "bad_request", known, "{command} with {field}: {answer}");
            }
        }
        for field in row.fields.iter().filter(|field| !field.optional) {
            assert_eq!(ask(client, row, Some((&field.name, None))), "bad_request", "{command} without {}", field.name);
        }
        assert_eq!(ask(client, row, None), row.answer, "{command}");
    }
}

/// Sends a command with all that it needs and one field otherwise (`None`: without it); the type or the error's code of the
/// answer. Alice is in `tea` afterwards.
fn ask(client: &mut Client, row: &Row, other: Option<(&str, Option<Value>)>) -> String {
    let mut command = serde_json::Map::from_iter([("type".to_owned(), row.names[0].clone().into())]);
    for field in row.fields.iter().filter(|field| !field.optional) {
        command.insert(field.name.clone(), if field.name == "room" { "tea" } else { "alice" }.into());
    }
    match other {
        Some((name, Some(value))) => drop(command.insert(name.to_owned(), value)),
        Some((name, None)) => drop(command.remove(name)),
        None => {}
    }
    client.send(&Value::from(command).to_string());
    // A rename is answered behind all that was said before: what has no answer by then has none.
    client.send(r#"{"type":"name","name":"alice","ref":"end"}"#);
    let mut answers = Vec::new();
    loop {
        let frame = client.json();
        if frame["ref"] == "end" {
            break;
        }
        answers.push(frame["code"].as_str().or(frame["type"].as_str()).expect("a type").to_owned());
    }
    if answers.first().is_some_and(|kind| kind == "left") {
        client.send(r#"{"type":"join","room":"tea"}"#);
        assert_eq!(client.json()["type"], "joined");
    }
    answers.into_iter().next().unwrap_or_else(|| "none".to_owned())
}

/// A row of a table of section 21.
struct Row {
    /// The frames or commands that it is about.
    names: Vec<String>,
    v1: bool,
    fields: Vec<Field>,
    /// Of a command: the type of the first frame that answers it, or `none`.
    answer: String,
}

struct Field {
    name: String,
    optional: bool,
}

/// The rows of the table of section 21 whose head begins like that.
fn table(head: &str) -> Vec<Row> {
    let page = page();
    let (_, chapter) = page.split_once("\n## 21. ").expect("section 21");
    let lines = chapter.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|')).filter(|line| !line.starts_with("| binary"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [what, second, third] = cells[..] else { panic!("three cells: {line}") };
        let of_a_frame = head.contains("frame");
        let fields = fields(if of_a_frame { third } else { second });
        let answer = if third == "none" { "none" } else { third.split('`').nth(1).unwrap_or_default() };
        Row { names: code(what), v1: what.contains("*v1*"), fields, answer: answer.to_owned() }
    })
    .collect()
}

/// What is written as code.
fn code(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The fields of a cell; what stands in brackets says more about one. Of "`user`, `name` or `joined`, `left`" all may be
/// missing.
fn fields(cell: &str) -> Vec<Field> {
    let mut depth = 0;
    let mut flat = String::new();
    for char in cell.chars() {
        depth += i32::from(char == '(') - i32::from(char == ')');
        flat.extend((depth == 0 && char != ')').then_some(char));
    }
    let alternatives = flat.find(", then ").unwrap_or(flat.len());
    let (mut fields, mut at) = (Vec::new(), 0);
    for (place, part) in flat.split('`').enumerate() {
        if place % 2 == 1 {
            let optional = flat[at + part.len() + 1..].starts_with('?') || at > alternatives;
            fields.push(Field { name: part.to_owned(), optional });
        }
        at += part.len() + 1;
    }
    fields
}

/// The keys of an object, in their order.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(KeysVisitor)
    }
}

/// All quotations, each with its file.
fn all_quotations() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")) {
        let source = std::fs::read_to_string(&file).expect("a readable test");
        all.extend(quotations(&source).into_iter().map(|quotation| (file.display().to_string(), quotation)));
    }
    assert!(all.len() > 300, "only {} quotations", all.len());
    all
}

/// What the page says. No statements are headings and the heads of tables, what is in fences, and what announces a
/// transcript, a table or a list, with a colon.
fn statements(page: &str) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut paragraph: Vec<(usize, &str)> = Vec::new();
    let (mut fenced, mut of_the_tables) = (false, false);
    let mut lines = page.lines().zip(1..).peekable();
    while let Some((line, number)) = lines.next() {
        let is_item = line.starts_with("- ") || line.split_once(". ").is_some_and(|(n, _)| n.parse::<u32>().is_ok());
        let ends = fenced || is_item || line.trim().is_empty() || ["```", "#", "|"].iter().any(|s| line.starts_with(s));
        if ends {
            sentences(&std::mem::take(&mut paragraph), &mut statements);
        }
        if line.starts_with("```") {
            fenced = !fenced;
        } else if line.starts_with("## ") && !fenced {
            of_the_tables = line.starts_with("## 21.");
        } else if line.starts_with('|') && !fenced {
            let is_rule = |line: &str| line.chars().all(|char| "|- ".contains(char));
            if !is_rule(line) && !lines.peek().is_some_and(|(next, _)| next.starts_with('|') && is_rule(next)) {
                statements.push(Statement { line: number, text: line.to_owned(), of_the_tables });
            }
        } else if is_item {
            paragraph.push((number, line.split_once(' ').map_or(line, |(_, rest)| rest)));
        } else if !ends {
            paragraph.push((number, line.trim()));
        }
    }
    sentences(&paragraph, &mut statements);
    statements
}

/// A sentence ends with a full stop, perhaps within brackets, where a capital, code or a bracket follows. What is in bold
/// at the start is a heading.
fn sentences(paragraph: &[(usize, &str)], statements: &mut Vec<Statement>) {
    let Some(&(line, _)) = paragraph.first() else { return };
    let words: Vec<&str> = paragraph.iter().flat_map(|(_, text)| text.split_whitespace()).collect();
    let mut sentence: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for (place, word) in words.iter().enumerate() {
        sentence.push(word);
        let ends = word.trim_end_matches([')', '*']).ends_with(['.', '?', '!']) || place + 1 == words.len();
        let begins = words.get(place + 1).and_then(|next| next.chars().next());
        if ends && begins.is_none_or(|char| char.is_uppercase() || char.is_ascii_digit() || "`(*\"".contains(char)) {
            found.push(std::mem::take(&mut sentence).join(" "));
        }
    }
    let announces = found.last().is_some_and(|last| last.ends_with(':'));
    found.truncate(found.len() - usize::from(announces));
    found.retain(|text| !(text.starts_with("**") && text.ends_with("**")));
    statements.extend(found.into_iter().map(|text| Statement { line, text, of_the_tables: false }));
}
