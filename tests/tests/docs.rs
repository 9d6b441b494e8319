//! What the docs show is what happens: every `console` block of docs/processors.md is run, and its output compared.
//!
//! In a block a line `$ odin -f FILE` starts Odin with that config in front of `odin echo`, a line `$ curl …` asks it, and
//! the lines below are what curl says. `…` stands for what differs from run to run.

use odin_tests::{Odin, Program, paths, within};

/// Where the configs of the processors have their backend and their listener, for people to read.
const BACKEND: &str = "127.0.0.1:9100";
const LISTENER: &str = "localhost:8090";

#[tokio::test]
async fn every_command_of_the_processors_page_answers_as_it_says() {
    let page = std::fs::read_to_string(paths::workspace().join("docs/processors.md")).unwrap();
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
    assert!(asked >= 7, "{asked} commands");
}

async fn start(config: &str, backend: &str) -> Odin {
    let text = std::fs::read_to_string(paths::workspace().join(config)).unwrap();
    let text = text
        .replace("../plugins/", &format!("{}/", paths::workspace().join("plugins").display()))
        .replace(BACKEND, backend)
        .replace("127.0.0.1:8090", "127.0.0.1:0");
    Odin::builder().with_config(text).argument("--admin").argument("127.0.0.1:0").start().await
}

/// The console blocks that start Odin.
fn blocks(page: &str) -> Vec<String> {
    let blocks = page.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.contains("$ odin -f ")).map(str::to_owned).collect()
}

/// Each command with the lines below it.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), Some((last, output))) if last.ends_with('\\') && output.is_empty() => {
                last.push_str(command);
            }
            (Some(command), _) => commands.push((command.trim_end_matches(" &").to_owned(), String::new())),
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
