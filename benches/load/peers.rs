//! What users would pick instead: finds out which of these servers are installed, and starts them. Their programs are in
//! `benches/peers/`, each the smallest honest one of its kind: what anybody says goes to everybody. It installs nothing.
//!
//! | peer | what must be there |
//! |---|---|
//! | `tutorial`, `websockets` | `python3` with `websockets` 13 or newer: in a virtual environment that is active, or in the system's |
//! | `ws` | `node`, and `ws` in a folder that `NODE_PATH` names |
//! | `bun` | the npm package `bun`: on `PATH`, or in a folder that `NODE_PATH` names |
//! | `nchan` | `nginx`, with `ngx_nchan_module.so` (Debian: `libnginx-mod-nchan`) where it looks for modules, or in the folder `NGINX_MODULES` |

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::child::{self, Child};
use crate::failure::Failure;
use crate::subject::{Order, Subject};

/// How long a peer may take until it accepts.
const START: Duration = Duration::from_secs(20);

/// How often it is asked meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// A server that somebody would pick instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What many a tutorial builds: Python's `websockets`, and a loop over the clients.
    Tutorial,
    /// Python's `websockets`, with its own `broadcast`.
    Websockets,
    /// Node's `ws`.
    Ws,
    /// Bun's `publish`.
    Bun,
    /// nginx with Nchan.
    Nchan,
}

const KINDS: [Kind; 5] = [Kind::Bun, Kind::Nchan, Kind::Ws, Kind::Websockets, Kind::Tutorial];

/// A peer that is installed.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    kind: Kind,
    program: OsString,
    /// Of nginx: the module.
    module: Option<PathBuf>,
}

/// Those that are installed, the quickest first; and a sentence for each of the others.
pub(crate) fn find_all() -> (Vec<Peer>, Vec<String>) {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for kind in KINDS {
        match kind.find() {
            Ok(peer) => found.push(peer),
            Err(what) => missing.push(format!("{} was skipped: {what}.", kind.name())),
        }
    }
    (found, missing)
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Tutorial => "tutorial",
            Self::Websockets => "websockets",
            Self::Ws => "ws",
            Self::Bun => "bun",
            Self::Nchan => "nchan",
        }
    }

    fn file(self) -> PathBuf {
        let name = match self {
            Self::Tutorial => "tutorial.py",
            Self::Websockets => "python-websockets.py",
            Self::Ws => "ws.mjs",
            Self::Bun => "bun.mjs",
            Self::Nchan => "nchan.conf",
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(name)
    }

    /// Looks for what it needs by running it; says what is not there.
    fn find(self) -> Result<Peer, &'static str> {
        let peer = |program: OsString, module| Peer { kind: self, program, module };
        match self {
            Self::Tutorial | Self::Websockets => runs("python3", &["-c", "import websockets.asyncio.server"])
                .then(|| peer("python3".into(), None))
                .ok_or("there is no python3 with the package websockets"),
            Self::Ws => runs("node", &["-e", "require('ws')"])
                .then(|| peer("node".into(), None))
                .ok_or("there is no node with the package ws, in NODE_PATH for example"),
            Self::Bun => candidates("bun", node_folders().map(|folder| folder.join(".bin/bun")))
                .find(|bun| runs(bun, &["--version"]))
                .map(|bun| peer(bun, None))
                .ok_or("there is no bun, on PATH or in NODE_PATH"),
            Self::Nchan => {
                // People's PATH often lacks the folder for servers.
                let nginx = candidates("nginx", ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].map(PathBuf::from));
                let nginx = nginx.into_iter().find(|nginx| runs(nginx, &["-v"])).ok_or("there is no nginx")?;
                let module = nchan_module(&nginx).ok_or("nginx has no ngx_nchan_module.so")?;
                Ok(peer(nginx, Some(module)))
            }
        }
    }
}

impl Peer {
    /// `bun`, `nchan`, `ws`, `websockets` or `tutorial`.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Starts it on `core` (`None`: on any) and waits until it accepts. It is one process.
    pub(crate) fn start(&self, core: Option<usize>) -> Result<Subject, Failure> {
        self.start_inner(core).map_err(|failure| failure.at(self.name()))
    }

    fn start_inner(&self, core: Option<usize>) -> Result<Subject, Failure> {
        // It inherits the limit of open files, and not all of them raise it themselves.
        rlimit::increase_nofile_limit(u64::MAX)?;
        // Somebody else might take the port before the peer does; then it fails to start.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = child::command(core, &self.program);
        match &self.module {
            None => command.arg(self.kind.file()).arg(address.port().to_string()),
            Some(module) => {
                let folder = nginx_folder(&self.kind.file(), module, address.port())?;
                // A name without a folder is looked for in `-p`.
                command.arg("-p").arg(folder).args(["-c", "nginx.conf"])
            }
        };
        let mut child = Child::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        await_listening(address, &mut child).map_err(|failure| failure.at(&format!("{command:?}")))?;
        let order = match self.kind {
            // Each sender's line is sent by a task of its own, and tasks may overtake each other.
            Kind::Tutorial => Order::EachTalker,
            Kind::Websockets | Kind::Ws | Kind::Bun | Kind::Nchan => Order::Common,
        };
        Ok(Subject::peer(self.name(), address, "/", order, child))
    }
}

/// Tries until somebody accepts. The connection is closed at once, which no server minds.
fn await_listening(address: SocketAddr, child: &mut Child) -> Result<(), Failure> {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        if !child.runs() {
            return Err(Failure::from("it ended before it listened".to_owned()));
        }
        if start.elapsed() > START {
            return Err(Failure::from(format!("it does not listen after {} s", START.as_secs())));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Makes the folder in which nginx finds its configuration and puts its temporary files; returns it.
fn nginx_folder(template: &Path, module: &Path, port: u16) -> io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nchan");
    fs::create_dir_all(&folder)?;
    let configuration = fs::read_to_string(template)?
        .replace("@PORT@", &port.to_string())
        .replace("@MODULE@", &module.to_string_lossy());
    fs::write(folder.join("nginx.conf"), configuration)?;
    Ok(folder)
}

/// Where Nchan is: in the folder that `NGINX_MODULES` names, or in the one that nginx was built for.
fn nchan_module(nginx: &OsString) -> Option<PathBuf> {
    let told = Command::new(nginx).arg("-V").output().ok()?;
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    let built_for = told.split_whitespace().find_map(|word| word.strip_prefix("--modules-path="));
    let folders = std::env::var_os("NGINX_MODULES").map(PathBuf::from).into_iter().chain(built_for.map(PathBuf::from));
    folders.map(|folder| folder.join("ngx_nchan_module.so")).find(|module| module.is_file())
}

/// The folders in `NODE_PATH`.
fn node_folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("NODE_PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

/// A program by its name, and then by other paths.
fn candidates(name: &str, paths: impl IntoIterator<Item = PathBuf>) -> impl Iterator<Item = OsString> {
    std::iter::once(name.into()).chain(paths.into_iter().map(PathBuf::into_os_string))
}

/// Whether a program is there and ends well.
fn runs(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
