//! The words of the server's own notices, in the server's language. Errors are in English always: they are for those
//! who write clients.

use std::fmt;

use crate::chat::message::Notice;

use super::encode::Lang;

/// What a notice says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Words<'a> {
    /// Somebody came.
    Joined { name: &'a str },
    /// Somebody went.
    Left { name: &'a str },
    /// Many came or went.
    Coming { joined: u32, left: u32 },
    /// Somebody changed the name.
    Renamed { from: &'a str, to: &'a str },
    /// What a `system` frame says.
    Notice(&'a Notice),
}

/// Words in a language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spoken<'a> {
    /// In which language.
    pub(super) lang: Lang,
    /// What.
    pub(super) words: Words<'a>,
}

impl fmt::Display for Spoken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lang {
            Lang::English => english(self.words, f),
            Lang::Chinese => chinese(self.words, f),
        }
    }
}

fn english(words: Words<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match words {
        Words::Joined { name } => write!(f, "{name} joined"),
        Words::Left { name } => write!(f, "{name} left"),
        Words::Coming { joined, left } => write!(f, "{joined} joined, {left} left"),
        Words::Renamed { from, to } => write!(f, "{from} is now known as {to}"),
        Words::Notice(notice) => match notice {
            Notice::Welcome { online } => write!(f, "Welcome to the chat room! {online} online"),
            Notice::Renamed { from, to } => english(Words::Renamed { from, to }, f),
            Notice::Private { from, message } => write!(f, "{from} (private): {message}"),
            Notice::Typing { name } => write!(f, "{name} is typing\u{2026}"),
            Notice::Shutdown { .. } => f.write_str("The server is going away. Please reconnect in a moment."),
        },
    }
}

fn chinese(words: Words<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match words {
        Words::Joined { name } => write!(f, "用户 {name} 加入了聊天室"),
        Words::Left { name } => write!(f, "用户 {name} 离开了聊天室"),
        Words::Coming { joined, left } => write!(f, "{joined} 人加入，{left} 人离开"),
        Words::Renamed { from, to } => write!(f, "用户 {from} 改名为 {to}"),
        Words::Notice(notice) => match notice {
            Notice::Welcome { online } => write!(f, "欢迎加入聊天室！当前在线 {online} 人"),
            Notice::Renamed { from, to } => chinese(Words::Renamed { from, to }, f),
            Notice::Private { from, message } => write!(f, "{from}（私信）：{message}"),
            Notice::Typing { name } => write!(f, "{name} 正在输入\u{2026}"),
            Notice::Shutdown { .. } => f.write_str("服务器即将关闭，请稍后重新连接。"),
        },
    }
}
