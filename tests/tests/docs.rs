//! What the docs show is what happens: every `console` block of docs/processors.md, docs/proxy-protocol.md,
//! docs/operations.md and docs/tls.md is run, and its output compared. `…` stands for what differs from run to run.
//!
//! In a block of the first two a line `$ odin -f FILE` starts Odin with that config in front of `odin echo`, a line
//! `$ curl …` asks it, and the lines below are what curl says. The blocks of each of the others are one session of one shell,
//! in a network namespace of its own, in a folder with the files that the page shows.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use odin_tests::{Odin, Program, netns, paths, within};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// Where the configs of the processors have their backend and their listener, for people to read.
const BACKEND: &str = "127.0.0.1:9100";
const LISTENER: &str = "localhost:8090";

#[tokio::test]
async fn every_command_of_the_processors_page_answers_as_it_says() {
    let asked = ask_as_on("docs/processors.md").await;
    assert!(asked >= 7, "{asked} commands");
}

#[tokio::test]
async fn every_command_of_the_page_about_the_proxy_protocol_answers_as_it_says() {
    assert_eq!(ask_as_on("docs/proxy-protocol.md").await, 2);
}

/// Answers how many commands asked Odin.
async fn ask_as_on(page: &str) -> usize {
    let page = std::fs::read_to_string(paths::workspace().join(page)).unwrap();
    let echo = Program::spawn(["echo", "127.0.0.1:0"]);
    let said = echo.stdout.find_from(0, |line| line.starts_with("odin echo: http://")).await;
    let said = said.expect("the backend says where it listens");
    let address = said.trim_start_matches("odin echo: http://");

    let mut asked = 0;
    for block in blocks(&page) {
        let mut odin: Option<Odin> = None;
        for (command, output) in commands(&block) {
            if let Some(config) = command.strip_prefix("odin -f ") {
                if let Some(before) = odin.take() {
                    before.stop().await;
                }
                odin = Some(start(config, address).await);
            } else if command.starts_with("curl ") {
                let odin = odin.as_ref().expect("a block starts Odin before it asks");
                let command = command.replace(LISTENER, &odin.address("web").to_string());
                let said = shell(&command).await;
                assert!(fits(&said, &output), "$ {command}\nsaid\n{said}\nand not\n{output}");
                asked += 1;
            }
        }
        if let Some(odin) = odin {
            odin.stop().await;
        }
    }
    asked
}

#[test]
fn every_command_of_the_operations_page_answers_as_it_says() {
    every_command_answers("docs/operations.md", 30);
}

#[test]
fn every_command_of_the_tls_page_answers_as_it_says() {
    every_command_answers("docs/tls.md", 7);
}

/// The page has at least so many commands.
fn every_command_answers(page: &'static str, least: usize) {
    netns::run(async move || {
        let page = std::fs::read_to_string(paths::workspace().join(page)).unwrap();
        let mut session = Session::start(&page).await;
        let mut answered = 0;
        for block in fenced(&page, "console") {
            for (command, output) in typed(&block) {
                session.answers(&command, &output).await;
                answered += 1;
            }
        }
        assert!(answered >= least, "{answered} commands");
    });
}

async fn start(config: &str, backend: &str) -> Odin {
    let text = std::fs::read_to_string(paths::workspace().join(config)).unwrap();
    let text = text
        .replace("../plugins/", &format!("{}/", paths::workspace().join("plugins").display()))
        .replace(BACKEND, backend)
        .replace("127.0.0.1:8090", "127.0.0.1:0")
        .replace("127.0.0.1:7025", "127.0.0.1:0");
    Odin::builder().with_config(text).argument("--admin").argument("127.0.0.1:0").start().await
}

/// A shell, and everything that it has started. Nothing of it outlives the test.
struct Session {
    shell: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _folder: TempDir,
}

/// Ends with a line that tells where the output of a command ends.
const END: &str = "--- end of the output ---";

impl Session {
    /// Puts the files that the page shows into a folder, which others may read.
    async fn start(page: &str) -> Session {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::copy(paths::odin(), bin.join("odin")).unwrap();
        std::fs::copy(paths::plugin("canary"), folder.path().join("canary.wasm")).unwrap();
        for file in fenced(page, "toml") {
            let name =
                file.lines().next().and_then(|line| line.strip_prefix("# ")).expect("a file begins with its name");
            std::fs::write(folder.path().join(name), file).unwrap();
        }
        for path in [folder.path(), &bin] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        // Other Odins of this machine are not those of the page.
        let runtime = folder.path().join("run");
        std::fs::create_dir(&runtime).unwrap();
        std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = tokio::process::Command::new("bash")
            .arg("--norc")
            .process_group(0)
            .current_dir(folder.path())
            .env("PATH", path)
            .env("RUNTIME_DIRECTORY", runtime)
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = shell.stdin.take().unwrap();
        let output = BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut session = Session { shell, input, output, _folder: folder };
        // The page has a namespace that is empty.
        for network in netns::ROUTES {
            session.run(&format!("ip route delete local {network} dev lo")).await;
        }
        session
    }

    /// Types a command, again and again where that changes nothing, until it says what the page shows.
    async fn answers(&mut self, command: &str, shown: &str) {
        const PATIENCE: Duration = Duration::from_secs(20);
        const READS: [&str; 6] = ["cat ", "grep ", "ss ", "odin diff ", "odin steer ", "curl -s -o "];
        let again = READS.iter().any(|reads| command.starts_with(reads));
        let begun = Instant::now();
        loop {
            let said = self.run(command).await;
            if fits(&said, shown) {
                return;
            }
            let over = !again || begun.elapsed() > PATIENCE;
            assert!(!over, "$ {command}\nsaid\n{said}\nand not\n{shown}\n{}", self.run("tail *.log").await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn run(&mut self, command: &str) -> String {
        let typed = match command.ends_with('&') {
            true => format!("{command}\necho '{END}'\n"),
            false => format!("{{ {command}\n}} 2>&1\necho '{END}'\n"),
        };
        self.input.write_all(typed.as_bytes()).await.unwrap();
        let mut said = String::new();
        loop {
            let line = within(command, self.output.next_line()).await.unwrap();
            match line {
                None => panic!("$ {command}\nended the shell: {:?}", self.shell.try_wait()),
                Some(line) if line == END => return said,
                Some(line) => said += &format!("{line}\n"),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The shell and all that it started, new binaries included, which are nobody's children by then.
        if let Some(group) = self.shell.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// The console blocks that start Odin.
fn blocks(page: &str) -> Vec<String> {
    fenced(page, "console").into_iter().filter(|block| block.contains("$ odin -f ")).collect()
}

/// The blocks of this kind.
fn fenced(page: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    let blocks = page.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

/// Each command with the lines below it, without the `&` behind it.
fn commands(block: &str) -> Vec<(String, String)> {
    let plain = |(command, output): (String, String)| (command.trim_end_matches(" &").to_owned(), output);
    typed(block).into_iter().map(plain).collect()
}

/// Each command with the lines below it.
fn typed(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), Some((last, output))) if last.ends_with('\\') && output.is_empty() => {
                last.push_str(command);
            }
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => *output += &format!("{line}\n"),
            (None, None) => panic!("a line without a command: {line}"),
        }
    }
    commands
}

async fn shell(command: &str) -> String {
    let mut shell = tokio::process::Command::new("sh");
    let output = within("the command", shell.arg("-c").arg(command).output()).await.unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap().replace('\r', "")
}

/// Whether the text is what the pattern shows, line by line.
fn fits(text: &str, pattern: &str) -> bool {
    let (lines, patterns): (Vec<_>, Vec<_>) = (text.lines().collect(), pattern.lines().collect());
    lines.len() == patterns.len() && lines.iter().zip(patterns).all(|(line, pattern)| line_fits(line, pattern))
}

fn line_fits(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut last = "";
    for part in parts {
        let found = if part.is_empty() { Some(rest.len()) } else { rest.find(part) };
        let Some(at) = found else { return false };
        rest = &rest[at + part.len()..];
        last = part;
    }
    rest.is_empty() || (last.is_empty() && pattern.ends_with('…'))
}
