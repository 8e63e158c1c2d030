//! How a disk is made slow, faulty or small: by strace (Debian's), which delays or fails the server's own calls, and by a
//! file system in memory that is the server's alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::eventually;
use crate::common::folder::Folder;
use crate::common::server::Server;

/// A strace that is attached to the server; when it is dropped, all is well again.
pub(crate) struct Trouble(Child);

impl Trouble {
    /// Does this to the server's calls from now on, as strace's `--inject` says it; `None`, and a word, where strace may not attach.
    #[track_caller]
    pub(crate) fn with(server: &Server, calls: &str, what: &str) -> Option<Self> {
        let inject = format!("inject={calls}:{what}");
        Self::attach(server, calls, &["-o", "/dev/null", "-e", &inject], what)
    }

    /// Does nothing but write these calls to a file, each with the time at which it began, and with the file's name.
    #[track_caller]
    pub(crate) fn watching(server: &Server, calls: &str, file: &Path) -> Option<Self> {
        let file = file.to_str().expect("temporary folders have names of letters");
        Self::attach(server, calls, &["-ttt", "-y", "-o", file], "their times")
    }

    #[track_caller]
    fn attach(server: &Server, calls: &str, flags: &[&str], what: &str) -> Option<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-e", &format!("trace={calls}")]).args(flags).args(["-p", &server.id().to_string()]);
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = started.unwrap_or_else(|error| panic!("strace cannot be started (Debian: strace): {error}"));
        let mut lines = BufReader::new(child.stderr.take().expect("it was piped"));
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            if lines.read_line(&mut line).expect("strace says what it does") == 0 {
                let _ = child.wait();
                println!("NOT TESTED: {calls}:{what}, since strace may not attach to the server here");
                return None;
            }
        }
        // What more it says must not fill its pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Some(Self(child))
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        // By this signal it detaches; a SIGKILL would leave the server's threads stopped in a call.
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

/// A file system of few bytes in a folder, seen by the processes that are started in it. It goes with the test.
pub(crate) struct Small {
    holder: Child,
    folder: Folder,
}

impl Small {
    /// Of so many MiB; `None` where nobody may mount.
    pub(crate) fn mount(mib: u32) -> Option<Self> {
        let folder = Folder::new();
        let path = folder.path().display();
        let script = format!("mount -t tmpfs -o size={mib}m tmpfs {path} && touch {path}/mounted && exec cat");
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
        // It ends when this end of its input is closed, however the test ends.
        let started = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut holder = started.expect("unshare is a part of every Linux system");
        let mut ended = false;
        let mounted = PathBuf::from(format!("/proc/{}/root{path}/mounted", holder.id()));
        eventually("a file system is mounted, or that is not permitted", || {
            ended = holder.try_wait().expect("a child can be waited for").is_some();
            ended || mounted.exists()
        });
        (!ended).then_some(Self { holder, folder })
    }

    /// What a shell does to start the server there.
    pub(crate) fn entering(&self) -> String {
        let holder = self.holder.id();
        format!("exec nsenter --target {holder} --user --mount --preserve-credentials \"$0\" \"$@\"")
    }

    /// The folder, as the server sees it.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) {
        let mut file = fs::File::create(self.filler()).expect("a file in it");
        let written = std::io::copy(&mut std::io::repeat(b'x'), &mut file);
        let error = written.expect_err("it is small");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }

    /// Takes away what filled it.
    pub(crate) fn empty(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    /// All that is in it, by name.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.inside("")).expect("it is mounted").map(|entry| entry.expect("an entry"));
        let file = |entry: fs::DirEntry| {
            (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a file"))
        };
        entries.map(file).collect()
    }

    fn filler(&self) -> String {
        self.inside("filler")
    }

    /// A file of it, as it is seen from outside.
    fn inside(&self, name: &str) -> String {
        format!("/proc/{}/root{}/{name}", self.holder.id(), self.folder.path().display())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
