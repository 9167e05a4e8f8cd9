//! Debian's chromium, headless, driven through its own `chromedriver`. Where there is none, a test says so and ends.

use super::super::testbed;
use gitops_hooks::tls;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use thirtyfour::prelude::*;
use tokio::runtime::Runtime;

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Browser {
    runtime: Runtime,
    driver: Option<WebDriver>,
    server: Child,
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
        let driver = runtime.block_on(async {
            let mut capabilities = DesiredCapabilities::chrome();
            for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"] {
                capabilities.add_arg(argument).unwrap();
            }
            WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities).await.unwrap()
        });
        let browser = Self { runtime, driver: Some(driver), server };
        browser.size(1280, 800);
        Some(browser)
    }

    fn driver(&self) -> &WebDriver {
        self.driver.as_ref().unwrap()
    }

    pub fn open(&self, address: &str) {
        self.runtime.block_on(self.driver().goto(address)).unwrap();
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

    fn devtools(&self, method: &str, parameters: Value) -> Value {
        self.runtime.block_on(self.driver().cdp().send_raw(method, parameters)).unwrap()
    }

    /// What an expression is in the page.
    pub fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.runtime.block_on(async { self.driver().execute(script, Vec::new()).await.unwrap().json().clone() })
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
        let press = async {
            let element = self.driver().find(By::Css(css)).await?;
            element.scroll_into_view().await?;
            element.click().await
        };
        // What changes by itself may be another element by the time that it is pressed.
        let done = self.runtime.block_on(press);
        if done.is_err() {
            std::thread::sleep(Duration::from_millis(300));
            self.runtime.block_on(async { self.driver().find(By::Css(css)).await?.click().await }).unwrap();
        }
    }

    pub fn write(&self, css: &str, text: &str) {
        self.runtime.block_on(async { self.driver().find(By::Css(css)).await?.send_keys(text).await }).unwrap();
    }

    /// A key for whatever has the focus.
    pub fn key(&self, key: &str) {
        self.runtime
            .block_on(async { self.driver().action_chain().send_keys(key.to_owned()).perform().await })
            .unwrap();
    }

    /// A picture, where somebody wants to look at it: `GITOPS_HOOKS_TEST_SHOTS` names a folder.
    pub fn shoot(&self, name: &str) {
        let Ok(folder) = std::env::var("GITOPS_HOOKS_TEST_SHOTS") else { return };
        let picture = self.runtime.block_on(self.driver().screenshot_as_png()).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), picture).unwrap();
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
        if let Some(driver) = self.driver.take() {
            let _ = self.runtime.block_on(driver.quit());
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
