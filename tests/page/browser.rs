//! Debian's chromium, headless, through its own `chromedriver`. Where there is none, a test says so and ends. What is needed of
//! `WebDriver` (<https://www.w3.org/TR/webdriver2/>) is a few calls in JSON; the crates for it turn on features of serde and reqwest
//! that would have every dependency built a second time for the tests.

use super::super::testbed;
use base64::{Engine, engine::general_purpose::STANDARD};
use gitops_hooks::tls;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(120);
/// The key under which an element's name is given.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Browser {
    runtime: Runtime,
    client: reqwest::Client,
    /// `http://127.0.0.1:PORT/session/ID`
    session: String,
    server: Child,
}

/// The folder for pictures, where somebody wants to look at them.
pub fn shots() -> Option<PathBuf> {
    std::env::var_os("GITOPS_HOOKS_TEST_SHOTS").map(PathBuf::from)
}

impl Browser {
    pub fn start() -> Option<Self> {
        let Ok(mut server) =
            Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
        else {
            testbed::skipped("needs chromium and chromedriver: apt-get install chromium chromium-driver");
            return None;
        };
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("started successfully on port")).unwrap();
        let port = line.trim_end_matches('.').rsplit(' ').next().unwrap().to_owned();
        // It goes on talking, and must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        tls::choose_provider();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let session = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { runtime, client: reqwest::Client::new(), session, server };
        let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } } });
        let made = browser.post("", wanted).unwrap();
        browser.session = format!("{}/{}", browser.session, made["sessionId"].as_str().unwrap());
        browser.size(1280, 800);
        Some(browser)
    }

    /// One call; the error is the driver's own.
    fn call(&self, request: reqwest::RequestBuilder) -> Result<Value, String> {
        let text = self.runtime.block_on(async { request.send().await?.text().await }).unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        let value = answer["value"].clone();
        if value["error"].is_string() { Err(value.to_string()) } else { Ok(value) }
    }

    fn post(&self, path: &str, body: Value) -> Result<Value, String> {
        let request = self.client.post(format!("{}{path}", self.session));
        self.call(request.header("Content-Type", "application/json").body(body.to_string()))
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        self.call(self.client.get(format!("{}{path}", self.session)))
    }

    fn find(&self, css: &str) -> Result<String, String> {
        let found = self.post("/element", json!({ "using": "css selector", "value": css }))?;
        Ok(found[ELEMENT].as_str().unwrap().to_owned())
    }

    pub fn open(&self, address: &str) {
        self.post("/url", json!({ "url": address })).unwrap();
    }

    pub fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size);
    }

    /// As a person has it who prefers `dark` or `light`.
    pub fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features);
    }

    fn devtools(&self, method: &str, parameters: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": method, "params": parameters })).unwrap();
    }

    /// What an expression is in the page.
    pub fn value(&self, expression: &str) -> Value {
        self.post("/execute/sync", json!({ "script": format!("return ({expression});"), "args": [] })).unwrap()
    }

    pub fn text(&self, css: &str) -> String {
        let found = self.value(&format!("[...document.querySelectorAll({css:?})].map(e => e.innerText).join('\\n')"));
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the text at a place has something in it.
    pub fn until(&self, css: &str, wanted: &str) {
        let began = Instant::now();
        while !self.text(css).contains(wanted) {
            assert!(
                began.elapsed() < PATIENCE,
                "{css} never said {wanted:?} but {:?}; all of it:\n{}",
                self.text(css),
                self.text("body")
            );
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    pub fn click(&self, css: &str) {
        let began = Instant::now();
        let press = || self.post(&format!("/element/{}/click", self.find(css)?), json!({}));
        // What changes by itself may be another element by the time that it is pressed.
        while let Err(error) = press() {
            assert!(began.elapsed() < Duration::from_secs(5), "{css}: {error}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn write(&self, css: &str, text: &str) {
        self.post(&format!("/element/{}/value", self.find(css).unwrap()), json!({ "text": text })).unwrap();
    }

    /// A key for whatever has the focus.
    pub fn key(&self, key: &str) {
        let press = |what: &str| json!({ "type": what, "value": key });
        let keys = json!({ "type": "key", "id": "keyboard", "actions": [press("keyDown"), press("keyUp")] });
        self.post("/actions", json!({ "actions": [keys] })).unwrap();
    }

    /// A picture, where somebody wants to look at it.
    pub fn shoot(&self, name: &str) {
        let Some(folder) = shots() else { return };
        let picture = STANDARD.decode(self.get("/screenshot").unwrap().as_str().unwrap()).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// Shoots a page at several widths, in light and in dark.
    pub fn shoot_all(&self, name: &str) {
        for (width, height) in [(360, 740), (1280, 800), (2560, 1300)] {
            self.size(width, height);
            for scheme in ["light", "dark"] {
                self.prefer(scheme);
                self.shoot(&format!("{name}-{width}-{scheme}"));
            }
        }
        self.prefer("light");
        self.size(1280, 800);
    }

    /// Nothing is wider than the window, at any of these widths.
    pub fn fits(&self, widths: &[u32]) {
        for width in widths {
            self.size(*width, 800);
            let wide = self.value("document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert!(wide.as_i64().unwrap() <= 0, "{wide} pixels are beyond a window of {width}");
        }
        self.size(1280, 800);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.call(self.client.delete(&self.session));
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
