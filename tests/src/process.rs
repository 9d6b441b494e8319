//! What the kernel says about a process, and signals to it. Never signals anything but a process that a test started.

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process};

/// The resident memory of the process in bytes, from `/proc`.
pub fn resident_bytes(pid: u32) -> u64 {
    bytes(pid, "VmRSS")
}

/// The most that the process has had resident since the last [`forget_peak`], in bytes.
pub(crate) fn peak_resident_bytes(pid: u32) -> u64 {
    bytes(pid, "VmHWM")
}

fn bytes(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is running");
    let kib = field(&status, key).strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("{key} is a number of kB in {status}")) * 1024
}

/// What a status in `/proc` says there.
fn field<'a>(status: &'a str, key: &str) -> &'a str {
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {key} in {status}")).trim()
}

/// Sets the peak to what is resident now (`man 5 proc`, `clear_refs`).
pub(crate) fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the peak can be reset");
}

/// Whether the process is there and has not ended.
pub fn is_running(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|status| !status.contains("\nState:\tZ"))
}

/// Whether there is a process with this id, a zombie included.
pub fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// How many descriptors the process has open.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is running").count()
}

/// What each of them is, for a message: of a TCP socket its line of `/proc/net/tcp` (addresses, state, queues).
pub fn open_files(pid: u32) -> Vec<String> {
    let table = |name| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let (tcp, tcp6) = (table("tcp"), table("tcp6"));
    let described = |link: std::path::PathBuf| {
        let link = link.display().to_string();
        let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        let is_it = |line: &&str| inode.is_some() && line.split_whitespace().nth(9) == inode;
        tcp.lines().chain(tcp6.lines()).find(is_it).map_or(link.clone(), |line| format!("{link} {}", line.trim()))
    };
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is running").flatten();
    files.filter_map(|file| std::fs::read_link(file.path()).ok()).map(described).collect()
}

/// The children of a process that it has not waited for yet.
pub fn children(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("there is /proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |status: &str| status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<u32>().ok());
    let is_child = |child: &u32| parent(&std::fs::read_to_string(format!("/proc/{child}/status")).ok()?);
    pids.filter(|child| is_child(child) == Some(pid)).collect()
}

/// Lets this process be the parent of those whose parent has ended, so that it hears of their end.
pub fn adopt_orphans() {
    let this = Pid::from_raw(std::process::id().try_into().expect("a pid fits"));
    rustix::process::set_child_subreaper(this).expect("a process can be a subreaper");
}

/// How a process ended that became a child of this one; none while it runs, or is the child of another.
pub(crate) fn ended(pid: u32) -> Option<WaitStatus> {
    let pid = Pid::from_raw(pid.try_into().expect("a pid fits"));
    rustix::process::waitpid(pid, WaitOptions::NOHANG).ok().flatten().map(|(_, status)| status)
}

/// One thread of a process: what `/proc/PID/task/TID/status` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// Whether a signal has stopped it.
    pub stopped: bool,
    /// Whether it waits for something.
    pub sleeps: bool,
    /// Real, effective, saved and file system user id.
    pub uids: Vec<u32>,
    /// The same of the group.
    pub gids: Vec<u32>,
    /// The groups beside it.
    pub groups: Vec<u32>,
    /// Whether no program that it starts can gain any right.
    pub no_new_privileges: bool,
    /// Capabilities: inheritable, permitted, effective and ambient together.
    pub capabilities: u64,
}

/// All threads of a process.
pub fn threads(pid: u32) -> Vec<Thread> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process is running");
    let status =
        |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("status")).ok();
    tasks.filter_map(status).map(|status| Thread::parse(&status)).collect()
}

/// The uid and gid of a user, from where they are kept.
pub fn user(name: &str) -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").expect("there are users");
    let line = users.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let fields: Vec<&str> = line.unwrap_or_else(|| panic!("there is a user {name}")).split(':').collect();
    (fields[1].parse().expect("a uid"), fields[2].parse().expect("a gid"))
}

impl Thread {
    fn parse(status: &str) -> Thread {
        let numbers =
            |key| field(status, key).split_whitespace().map(|id| id.parse().expect("an id is a number")).collect();
        let set = |key| u64::from_str_radix(field(status, key), 16).expect("a set is a number");
        Thread {
            name: field(status, "Name").to_string(),
            stopped: field(status, "State").starts_with('T'),
            sleeps: field(status, "State").starts_with('S'),
            uids: numbers("Uid"),
            gids: numbers("Gid"),
            groups: numbers("Groups"),
            no_new_privileges: field(status, "NoNewPrivs") == "1",
            capabilities: ["CapInh", "CapPrm", "CapEff", "CapAmb"].into_iter().map(set).fold(0, |all, set| all | set),
        }
    }
}

/// Sends a signal to a process that a test has started.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().expect("a pid fits")).expect("a pid is not zero");
    kill_process(pid, signal).expect("the process is there");
}
