//! A real browser without a screen: Chromium, told what to do by its driver over HTTP (`WebDriver`, by the W3C). What is used of that
//! protocol is a handful of requests with JSON in them. Nothing here knows what the page is.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{request::Request, wait::until};

/// A window with one page. It closes with it.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    /// Removed when the browser has ended.
    _profile: TempDir,
}

impl Browser {
    /// Opens a page, in a browser that has seen nothing before.
    pub(crate) async fn at(url: &str) -> Self {
        let profile = TempDir::new().expect("a temporary directory");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts: `make tools` installs it");
        let stdout = driver.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let user_data = format!("--user-data-dir={}", profile.path().display());
        let mut browser = Self {
            driver,
            port: port.expect("chromedriver names its port"),
            session: String::new(),
            _profile: profile,
        };
        let args: Vec<&str> = FLAGS.into_iter().chain([user_data.as_str()]).collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let opened = browser.ask("POST", "/session", &wanted).await;
        let session = opened["sessionId"].as_str().expect("a session");
        browser.session = format!("/session/{session}");
        browser.tell("/url", &json!({"url": url})).await;
        browser
    }

    /// What a script in the page returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.tell("/execute/sync", &json!({"script": script, "args": []}))
            .await
    }

    /// What a person reads in the first element of a selector, if it can be seen.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let selector = json!(selector);
        let script = format!("return document.querySelector({selector})?.innerText ?? ''");
        let text = self.run(&script).await;
        text.as_str().expect("text").to_owned()
    }

    /// Waits until a person reads this there.
    pub(crate) async fn reads(&self, selector: &str, phrase: &str) -> String {
        until(&format!("{phrase:?} in {selector}"), async || {
            let text = self.text(selector).await;
            text.contains(phrase).then_some(text)
        })
        .await
    }

    /// Presses a key: a letter, or one of `WebDriver`'s code points.
    pub(crate) async fn press(&self, key: &str) {
        let strokes = [("keyDown", key), ("keyUp", key)]
            .map(|(kind, key)| json!({"type": kind, "value": key}));
        let actions = json!({"actions": [{"type": "key", "id": "keys", "actions": strokes}]});
        self.tell("/actions", &actions).await;
    }

    /// What has come to the console since the last look.
    pub(crate) async fn console(&self) -> Vec<Value> {
        let log = self.tell("/se/log", &json!({"type": "browser"})).await;
        log.as_array().cloned().expect("a log")
    }

    async fn tell(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("{}{path}", self.session), body)
            .await
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let request = Request::new(method, path)
            .host("localhost")
            .body(body.to_string());
        let answer = request.send(self.port).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()["value"].take()
    }

    /// Has the driver end the browser, which would outlive it.
    fn close(&self) -> std::io::Result<()> {
        let mut wire = TcpStream::connect(("127.0.0.1", self.port))?;
        wire.set_read_timeout(Some(Duration::from_secs(5)))?;
        let session = &self.session;
        write!(
            wire,
            "DELETE {session} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        wire.read_to_end(&mut Vec::new()).map(|_| ())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.close().ok();
        }
        if self.driver.kill().is_ok() {
            self.driver.wait().ok();
        }
    }
}

pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const SPACE: &str = " ";
/// It has no sandbox of its own where root runs it, sees our pages only, and asks nobody else for anything.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];
