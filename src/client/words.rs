//! What the client itself says, in English and in Chinese. What came from others is made clean where it is set in.
//!
//! The reasons that the system, the server or a library gives are left in their own language, which is English mostly.

use std::time::Duration;

use crate::wire::encode::Lang;

use super::clean::{name, word};
use super::talk::{OwnLine, OwnWord};
use super::typed::{COMMANDS, Command};

/// How much a word wants to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// It is good to know.
    Quiet,
    /// An own line waits, or may not have arrived.
    Alarm,
}

/// How much a word wants to be seen.
pub(super) fn tone(own: &OwnWord) -> Tone {
    match own {
        OwnWord::Reconnecting { .. }
        | OwnWord::MayMiss { .. }
        | OwnWord::PerhapsSent { .. }
        | OwnWord::NotSent { .. }
        | OwnWord::TooLong { .. }
        | OwnWord::NotConnected
        | OwnWord::Closed { .. }
        | OwnWord::NotAll { .. }
        | OwnWord::Lost { .. } => Tone::Alarm,
        _ => Tone::Quiet,
    }
}

/// The words, on one line.
pub(super) fn own(lang: Lang, own: &OwnWord) -> String {
    match lang {
        Lang::English => english(own),
        Lang::Chinese => chinese(own),
    }
}

fn english(own: &OwnWord) -> String {
    match own {
        OwnWord::Connected { url, name: me, rooms, lasting } => {
            let rooms = list(rooms, ", ");
            let place = if rooms.is_empty() { String::new() } else { format!(" in {rooms}") };
            let who = if me.is_empty() { String::new() } else { format!(" as {}", name(me)) };
            let hint = if *lasting { "" } else { " (a server that knows plain messages only)" };
            format!("connected to {}{who}{place}{hint}; /help shows what you can do", word(url))
        }
        OwnWord::Reconnecting { why, wait } => {
            format!("the connection is lost ({}); next attempt in {}", word(why), seconds(*wait, "s"))
        }
        OwnWord::Back { missed: 0 } => "connected again".to_owned(),
        OwnWord::Back { missed: 1 } => "connected again; 1 line came meanwhile".to_owned(),
        OwnWord::Back { missed } => format!("connected again; {missed} lines came meanwhile"),
        OwnWord::Waiting { line } => whole(Lang::English, line),
        OwnWord::MayMiss { room, reason } if room == "@me" => {
            format!("private lines may be missing: {}", why_missing(Lang::English, reason))
        }
        OwnWord::MayMiss { room, reason } => {
            format!("lines may be missing in {}: {}", name(room), why_missing(Lang::English, reason))
        }
        OwnWord::Departed { name: who } => {
            format!("{} has left, and gets it on coming back as the same user", name(who))
        }
        OwnWord::PerhapsSent { line } => format!("perhaps sent, perhaps not: {}", whole(Lang::English, line)),
        OwnWord::NotSent { line } => format!("not sent: {}", whole(Lang::English, line)),
        OwnWord::TooLong { line, bytes, bytes_max } => {
            let beginning = beginning(Lang::English, line);
            format!("not sent, too long ({bytes} bytes, {bytes_max} are allowed): {beginning}")
        }
        OwnWord::NotConnected => "not connected at the moment".to_owned(),
        OwnWord::NoOlder { room } => format!("there are no older lines in {}", name(room)),
        OwnWord::SecondClient => "you are connected from another terminal already; here you are a guest".to_owned(),
        OwnWord::NotKept { why } => format!("next time you will be somebody else: {}", word(why)),
        OwnWord::Rooms { current: Some(room), all } => {
            format!("you speak in {}; your rooms: {}", name(room), list(all, ", "))
        }
        OwnWord::Rooms { current: None, .. } => "you are in no room; /join ROOM".to_owned(),
        OwnWord::NeedsV1 => "this server knows plain messages only".to_owned(),
        OwnWord::NotIn { room } => format!("you are not in {0}; /join {0}", name(room)),
        OwnWord::BadUrl { url, why } => format!("not an address: {}: {}", word(url), word(why)),
        OwnWord::CannotConnect { url, why } => format!("cannot connect to {}: {}", word(url), word(why)),
        OwnWord::NobodyThere { url, why } => {
            let (url, why) = (word(url), word(why));
            format!("cannot connect to {url}: {why}; start a server with `chinwag serve`, or give the URL of one")
        }
        OwnWord::Closed { code, reason } if reason.is_empty() => format!("the server closed the connection ({code})"),
        OwnWord::Closed { code, reason } => format!("the server closed the connection: {} ({code})", word(reason)),
        OwnWord::NotAll { lines: 1 } => "1 line did not arrive, or perhaps not".to_owned(),
        OwnWord::NotAll { lines } => format!("{lines} lines did not arrive, or perhaps not"),
        OwnWord::Lost { why, unsent } => {
            let lines = match unsent {
                0 => String::new(),
                1 => "; 1 line was not acknowledged".to_owned(),
                unsent => format!("; {unsent} lines were not acknowledged"),
            };
            format!("{}{lines}", word(why))
        }
    }
}

fn chinese(own: &OwnWord) -> String {
    match own {
        OwnWord::Connected { url, name: me, rooms, lasting } => {
            let rooms = list(rooms, "、");
            let place = if rooms.is_empty() { String::new() } else { format!("，房间：{rooms}") };
            let who = if me.is_empty() { String::new() } else { format!("，你的名字：{}", name(me)) };
            let hint = if *lasting { "" } else { "（该服务器只支持普通消息）" };
            format!("已连接到 {}{who}{place}{hint}。输入 /help 查看帮助", word(url))
        }
        OwnWord::Reconnecting { why, wait } => {
            format!("连接已断开（{}），{}后重新连接", word(why), seconds(*wait, "秒"))
        }
        OwnWord::Back { missed: 0 } => "已重新连接".to_owned(),
        OwnWord::Back { missed } => format!("已重新连接，期间有 {missed} 条消息"),
        OwnWord::Waiting { line } => whole(Lang::Chinese, line),
        OwnWord::MayMiss { room, reason } if room == "@me" => {
            format!("私信可能有缺失：{}", why_missing(Lang::Chinese, reason))
        }
        OwnWord::MayMiss { room, reason } => {
            format!("房间 {} 的消息可能有缺失：{}", name(room), why_missing(Lang::Chinese, reason))
        }
        OwnWord::Departed { name: who } => format!("{} 已离开；以同一用户身份回来时会收到", name(who)),
        OwnWord::PerhapsSent { line } => format!("可能已发送，也可能没有：{}", whole(Lang::Chinese, line)),
        OwnWord::NotSent { line } => format!("未发送：{}", whole(Lang::Chinese, line)),
        OwnWord::TooLong { line, bytes, bytes_max } => {
            format!("未发送，太长（{bytes} 字节，上限 {bytes_max} 字节）：{}", beginning(Lang::Chinese, line))
        }
        OwnWord::NotConnected => "当前未连接".to_owned(),
        OwnWord::NoOlder { room } => format!("房间 {} 没有更早的消息", name(room)),
        OwnWord::SecondClient => "你已在另一个终端连接；在这里你是访客".to_owned(),
        OwnWord::NotKept { why } => format!("下次连接时你将是另一个人：{}", word(why)),
        OwnWord::Rooms { current: Some(room), all } => {
            format!("当前房间：{}；已加入：{}", name(room), list(all, "、"))
        }
        OwnWord::Rooms { current: None, .. } => "你不在任何房间里；用 /join 房间 加入".to_owned(),
        OwnWord::NeedsV1 => "该服务器只支持普通消息".to_owned(),
        OwnWord::NotIn { room } => format!("你不在房间 {0} 里；用 /join {0} 加入", name(room)),
        OwnWord::BadUrl { url, why } => format!("地址无效：{}：{}", word(url), word(why)),
        OwnWord::CannotConnect { url, why } => format!("无法连接到 {}：{}", word(url), word(why)),
        OwnWord::NobodyThere { url, why } => {
            let (url, why) = (word(url), word(why));
            format!("无法连接到 {url}：{why}；请用 `chinwag serve` 启动服务器，或给出另一个服务器的地址")
        }
        OwnWord::Closed { code, reason } if reason.is_empty() => format!("服务器关闭了连接（{code}）"),
        OwnWord::Closed { code, reason } => format!("服务器关闭了连接：{}（{code}）", word(reason)),
        OwnWord::NotAll { lines } => format!("{lines} 条消息没有送达，或者不确定是否送达"),
        OwnWord::Lost { why, unsent: 0 } => word(why),
        OwnWord::Lost { why, unsent } => format!("{}；{unsent} 条消息未得到确认", word(why)),
    }
}

/// The protocol's reason for a hole, in words. One that is not known is shown as it is.
fn why_missing(lang: Lang, reason: &str) -> String {
    let words = match reason {
        "epoch" => ["the server does not have its earlier lines any more", "服务器已经没有以前的消息"],
        "trimmed" => ["too many came, and the oldest are not kept", "消息太多，最早的已经不再保留"],
        "ahead" => ["the server has gone back to an older state", "服务器恢复到了较早的状态"],
        other => return word(other),
    };
    words[lang_index(lang)].to_owned()
}

/// Who is in a room.
pub(super) fn present(lang: Lang, room: &str, names: &str, online: u64, more: u64) -> String {
    let (room, more) = (name(room), Some(more).filter(|more| *more > 0));
    match lang {
        Lang::English => {
            let more = more.map_or_else(String::new, |more| format!(" and {more} more"));
            format!("{online} in {room}: {names}{more}")
        }
        Lang::Chinese => {
            let more = more.map_or_else(String::new, |more| format!("，还有 {more} 人"));
            format!("{room} 在线 {online} 人：{names}{more}")
        }
    }
}

/// What separates names in a list.
pub(super) fn comma(lang: Lang) -> &'static str {
    match lang {
        Lang::English => ", ",
        Lang::Chinese => "、",
    }
}

/// The mark of a private line.
pub(super) fn private(lang: Lang) -> &'static str {
    match lang {
        Lang::English => "(private)",
        Lang::Chinese => "（私信）",
    }
}

/// That the server refuses something, in its words, and the own line that it is about.
pub(super) fn refused(lang: Lang, code: &str, message: &str, about: Option<&OwnLine>) -> String {
    let (code, message) = (word(code), word(message));
    match (lang, about.map(|line| beginning(lang, line))) {
        (Lang::English, Some(about)) => format!("not sent: {about} ({message}, {code})"),
        (Lang::Chinese, Some(about)) => format!("未发送：{about}（{message}，{code}）"),
        (Lang::English, None) => format!("{message} ({code})"),
        (Lang::Chinese, None) => format!("{message}（{code}）"),
    }
}

/// The list of commands, a line each.
pub(super) fn help(lang: Lang) -> Vec<String> {
    let mut lines: Vec<String> = COMMANDS.iter().map(|command| usage(lang, command)).collect();
    lines.push(
        match lang {
            Lang::English => "//TEXT           say /TEXT; Tab completes names, rooms and commands",
            Lang::Chinese => "//内容           发送“/内容”；按 Tab 键补全名字、房间和命令",
        }
        .to_owned(),
    );
    lines
}

/// How a command is used, and what for.
pub(super) fn usage(lang: Lang, command: &Command) -> String {
    let which = lang_index(lang);
    let form = format!("{} {}", command.word, command.operands[which]);
    // A Chinese character is two columns wide.
    let wide = form.chars().filter(|char| !char.is_ascii()).count();
    format!("{form:0$} {1}", 16 - wide, command.does[which])
}

/// That there is no such command.
pub(super) fn unknown(lang: Lang, typed: &str) -> String {
    let typed = word(typed);
    match lang {
        Lang::English => {
            format!("there is no {typed}: nothing was sent; /help shows the commands, and /{typed} says it")
        }
        Lang::Chinese => {
            format!("没有 {typed} 这个命令，什么也没有发送。/help 显示所有命令；要发送这句话请输入 /{typed}")
        }
    }
}

const fn lang_index(lang: Lang) -> usize {
    match lang {
        Lang::English => 0,
        Lang::Chinese => 1,
    }
}

fn list(names: &[String], comma: &str) -> String {
    names.iter().map(|room| name(room)).collect::<Vec<_>>().join(comma)
}

/// An own line.
fn whole(lang: Lang, line: &OwnLine) -> String {
    addressed(lang, line, word(&line.message))
}

/// The beginning of an own line, enough to know it again.
fn beginning(lang: Lang, line: &OwnLine) -> String {
    addressed(lang, line, name(&line.message))
}

/// Words to somebody, as a line that was said shows it, or to a room.
fn addressed(lang: Lang, line: &OwnLine, words: String) -> String {
    match &line.to {
        Some(to) => format!("{} \u{2192} {}: {words}", private(lang), name(to)),
        None => words,
    }
}

/// `0.3 s`, `12 s`.
fn seconds(wait: Duration, unit: &str) -> String {
    let tenths = wait.as_millis().div_ceil(100);
    if tenths >= 100 {
        format!("{} {unit}", tenths.div_ceil(10))
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each word, with everything that is set into it replaced by what a terminal would obey.
    fn all(evil: &str) -> Vec<OwnWord> {
        let evil = || evil.to_owned();
        let line = || OwnLine { to: None, message: evil() };
        let to_one = || OwnLine { to: Some(evil()), message: evil() };
        vec![
            OwnWord::Connected { url: evil(), name: evil(), rooms: vec![evil()], lasting: false },
            OwnWord::Reconnecting { why: evil(), wait: Duration::from_millis(250) },
            OwnWord::Back { missed: 2 },
            OwnWord::Waiting { line: line() },
            OwnWord::Waiting { line: to_one() },
            OwnWord::MayMiss { room: evil(), reason: evil() },
            OwnWord::Departed { name: evil() },
            OwnWord::PerhapsSent { line: line() },
            OwnWord::NotSent { line: to_one() },
            OwnWord::TooLong { line: to_one(), bytes: 2, bytes_max: 1 },
            OwnWord::NotConnected,
            OwnWord::NoOlder { room: evil() },
            OwnWord::SecondClient,
            OwnWord::NotKept { why: evil() },
            OwnWord::Rooms { current: Some(evil()), all: vec![evil()] },
            OwnWord::NeedsV1,
            OwnWord::NotIn { room: evil() },
            OwnWord::BadUrl { url: evil(), why: evil() },
            OwnWord::CannotConnect { url: evil(), why: evil() },
            OwnWord::NobodyThere { url: evil(), why: evil() },
            OwnWord::Closed { code: 4500, reason: evil() },
            OwnWord::NotAll { lines: 2 },
            OwnWord::Lost { why: evil(), unsent: 1 },
        ]
    }

    #[test]
    fn nothing_that_is_set_in_is_obeyed_and_each_is_one_line() {
        for lang in [Lang::English, Lang::Chinese] {
            let evil = "a\x1b[2J\nb\u{202e}";
            let mut lines: Vec<String> = all(evil).iter().map(|word| own(lang, word)).collect();
            let about = OwnLine { to: Some(evil.to_owned()), message: evil.to_owned() };
            lines.extend([present(lang, evil, "", 1, 0), refused(lang, evil, evil, Some(&about)), unknown(lang, evil)]);
            for line in lines {
                assert!(!line.contains(['\x1b', '\n', '\u{202e}']), "{line:?}");
            }
        }
    }

    #[test]
    fn they_are_in_the_persons_language() {
        for word in all("x") {
            if !matches!(word, OwnWord::Waiting { .. }) {
                // Whom a private line is to is shown by an arrow.
                assert!(own(Lang::English, &word).replace('\u{2192}', "").is_ascii(), "{word:?}");
                assert!(!own(Lang::Chinese, &word).is_ascii(), "{word:?}");
            }
        }
    }

    #[test]
    fn a_private_line_says_so_and_to_whom_wherever_it_is_told_of() {
        let line = OwnLine { to: Some("Ann Lee".into()), message: "psst".into() };
        for word in [
            OwnWord::Waiting { line: line.clone() },
            OwnWord::PerhapsSent { line: line.clone() },
            OwnWord::NotSent { line: line.clone() },
            OwnWord::TooLong { line: line.clone(), bytes: 2, bytes_max: 1 },
        ] {
            let (english, chinese) = (own(Lang::English, &word), own(Lang::Chinese, &word));
            assert!(english.ends_with("(private) \u{2192} Ann Lee: psst"), "{english}");
            assert!(chinese.ends_with("（私信） \u{2192} Ann Lee: psst"), "{chinese}");
        }
        let refused = refused(Lang::English, "code", "why", Some(&line));
        assert_eq!(refused, "not sent: (private) \u{2192} Ann Lee: psst (why, code)");
    }

    #[test]
    fn numbers_are_spelled() {
        let lost = |unsent| own(Lang::English, &OwnWord::Lost { why: "gone".into(), unsent });
        assert_eq!([lost(0), lost(1)], ["gone", "gone; 1 line was not acknowledged"]);
        assert_eq!(lost(3), "gone; 3 lines were not acknowledged");
        for (millis, spelled) in [(0, "0.0 s"), (30, "0.1 s"), (1_250, "1.3 s"), (20_000, "20 s")] {
            assert_eq!(seconds(Duration::from_millis(millis), "s"), spelled);
        }
    }

    #[test]
    fn help_fits_in_80_columns() {
        for lang in [Lang::English, Lang::Chinese] {
            for line in help(lang) {
                let columns = line.chars().map(|char| if char.is_ascii() { 1 } else { 2 }).sum::<usize>();
                assert!(columns <= 78, "{columns}: {line}");
            }
        }
    }
}
