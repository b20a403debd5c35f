//! One child process that never outlives its parent.
//!
//! Linux can signal a child when its parent dies, but only through calls that need `unsafe` code.
//! So a few lines of shell stand between: they start the program, and stop it as soon as their
//! standard input closes. This process holds the other end of that pipe, and the kernel closes it
//! however the process ends, `kill -9` included. The shell and the program are a process group of
//! their own, so Ctrl-C at the terminal reaches them only through us.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::account::Account;

/// `$1` is the signal that stops the program; the rest is the program and its arguments.
const WATCHDOG: &str = r#"
signal=$1; shift
exec 3<&0
"$@" 3<&- </dev/null &
program=$!
{ cat <&3 >/dev/null 2>&1; kill -"$signal" $program 2>/dev/null; } &
watcher=$!
exec 3<&- </dev/null
wait $program
status=$?
kill $watcher 2>/dev/null
exit $status
"#;

/// How often a waiting supervisor looks again.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// The signal that asks a program to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT: what Postgres calls a fast shutdown.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// A running child; dropping it stops it.
#[derive(Debug)]
pub struct Supervised {
    child: Child,
    patience: Duration,
}

impl Supervised {
    /// Starts `command` (program, arguments, environment, working directory and output streams are
    /// taken from it) under the watchdog, as `account` if one is given.
    ///
    /// `patience` is how long a stop may take before the process group is killed.
    pub fn start(
        command: &Command,
        stop: StopSignal,
        account: Option<Account>,
        output: Option<&std::fs::File>,
        patience: Duration,
    ) -> io::Result<Self> {
        let name = match stop {
            StopSignal::Interrupt => "INT",
            StopSignal::Terminate => "TERM",
        };
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", WATCHDOG, "sh", name])
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        if let Some(account) = account {
            shell.gid(account.gid).uid(account.uid);
        }
        if let Some(output) = output {
            shell
                .stdout(output.try_clone()?)
                .stderr(output.try_clone()?);
        }
        let child = shell.stdin(Stdio::piped()).process_group(0).spawn()?;
        Ok(Self { child, patience })
    }

    /// The exit status, if the program has ended.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Asks the program to stop, without waiting.
    pub fn ask_to_stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Kills the whole process group at once.
    pub fn kill(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            signal::killpg(group(&self.child), Signal::SIGKILL)?;
        }
        self.child.wait().map(drop)
    }

    /// Asks the program to stop and waits for it. Returns its status, or nothing if it had to be
    /// killed.
    pub fn stop(&mut self) -> io::Result<Option<ExitStatus>> {
        self.ask_to_stop();
        let deadline = Instant::now() + self.patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(POLL);
        }
        self.kill().map(|()| None)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // Nobody is left to tell; the pipe is closed in any case.
        let _ = self.stop();
    }
}

fn group(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

/// Whether process `pid` lives and mentions `mark` (a data folder) in its command line.
///
/// Both are asked, because a process id from a file may belong to a stranger by now.
pub(crate) fn is_ours(pid: i32, mark: &Path) -> bool {
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline"))
        .ok()
        .or_else(|| {
            // Systems without /proc.
            let ps = Command::new("ps")
                .args(["-ww", "-o", "args=", "-p", &pid.to_string()])
                .output()
                .ok()?;
            Some(ps.stdout)
        });
    command_line
        .is_some_and(|line| String::from_utf8_lossy(&line).contains(&*mark.to_string_lossy()))
}

/// Ends a server that an earlier run left behind: a moment to end by itself (its watchdog has
/// stopped it already), then `stop`, then a bounded wait. True if it is gone.
pub(crate) fn end_leftover(pid: i32, mark: &Path, stop: Signal) -> bool {
    let gone_within = |limit: Duration| {
        let deadline = Instant::now() + limit;
        while is_ours(pid, mark) {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    };
    if gone_within(Duration::from_secs(5)) {
        return true;
    }
    let _ = signal::kill(Pid::from_raw(pid), stop);
    gone_within(Duration::from_secs(30))
}
