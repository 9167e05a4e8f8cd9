//! What a person sees in a browser, and can do without a mouse. Needs no test bed: git and the hooks are real, nothing is
//! delivered.

use super::{super::context::TestContext, browser::Browser, served::Served};
use std::{fmt::Write as _, io::Write as _, process::Stdio};

const CONFIG: &str = "\
hooks:
  pre-commit:
    - {name: lint, run: 'true'}
    - {name: test, run: sh check.sh}
";

#[test]
fn a_commit_is_seen_from_its_first_step_to_its_row() {
    let Some(browser) = Browser::start() else { return };
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", CONFIG);
    let gate = context.beside("gate");
    assert!(context.command("mkfifo").arg(&gate).status().unwrap().success());
    context.write(
        "check.sh",
        &format!("echo begun; read answer < '{}'; echo \"said $answer\"; test \"$answer\" = yes\n", gate.display()),
    );
    context.git(&["add", "."]);
    context.must(&["install", "--yes"]);
    let served = Served::by(&context, &[]);
    browser.open(&served.address);
    browser.until("#live", "live");
    browser.until("main", "No commits yet");
    browser.shoot_all("empty");

    // While a step runs it is told so, without a reload.
    let commit = || {
        let mut command = context.command("git");
        command.args(["commit", "-qm", "Start the app"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let answer = |text: &str| writeln!(std::fs::File::options().write(true).open(&gate).unwrap(), "{text}").unwrap();
    let mut first = commit();
    browser.until("#stopped", "judges the next commit");
    browser.until("#stopped li:nth-child(2)", "running");
    answer("no");
    assert!(!first.wait().unwrap().success());
    browser.until("#stopped", "Nothing was committed");
    browser.until("#stopped pre", "said no");
    browser.until("#stopped li:nth-child(2)", "exit code 1");
    browser.shoot_all("stopped");

    let mut second = commit();
    browser.until("#stopped", "judges the next commit");
    answer("yes");
    assert!(second.wait().unwrap().success());
    browser.until(".row", "Start the app");
    browser.until(".row .badge.good", "passed");
    assert_eq!(browser.text("#stopped").trim(), "");
    assert_eq!(browser.text(".empty"), "", "the word for an empty page is gone with the first row");

    // The details: each step with its reason, reached by keys alone.
    browser.key("j");
    assert_eq!(browser.value("document.activeElement.innerText"), "Start the app");
    browser.key("\u{e007}");
    browser.until("#sheet", "What ran");
    browser.until("#sheet", "it has not passed on these inputs yet");
    browser.until("#sheet pre", "said no");
    browser.shoot("detail-1280-light");
    browser.key("\u{e00c}");
    assert_eq!(browser.value("document.getElementById('sheet').open"), false);
    assert_eq!(browser.value("document.activeElement.innerText"), "Start the app", "the focus is where it was");

    for (key, heading) in [("3", "Time of each step"), ("2", "No environments"), ("1", "Start the app")] {
        browser.key(key);
        browser.until("main", heading);
    }

    // The server goes away, and the page says so.
    drop(served);
    browser.until("#live", "ended: run gitops-hooks ui");
    browser.click(".subject");
    browser.until("#sheet", "does not answer");
    browser.shoot("offline-1280-light");
}

#[test]
fn nothing_is_run_in_the_browser_that_a_commit_says() {
    let Some(browser) = Browser::start() else { return };
    let context = TestContext::new();
    let hostile = "<img src=x onerror=\"window.taken=1\"><script>window.taken=1</script>";
    context.git(&["commit", "-q", "--allow-empty", "-m", hostile]);
    let served = Served::by(&context, &[]);
    browser.open(&served.address);
    browser.until(".subject", "<img src=x");
    // What is patched in later, and into the sheet, is escaped too.
    context.git(&["commit", "-q", "--allow-empty", "-m", &format!("{hostile} two")]);
    browser.until(".subject", "two");
    browser.click(".subject");
    browser.until("#sheet h2", "<img src=x");
    assert_eq!(browser.value("typeof window.taken"), "undefined");
    assert_eq!(browser.value("document.images.length"), 0);
    // Nor would the browser run what were put there all the same.
    browser.value("(() => { const b = document.createElement('button'); b.setAttribute('onclick', 'window.taken=1'); document.body.append(b); b.click(); const s = document.createElement('script'); s.textContent = 'window.taken=1'; document.body.append(s); })()");
    assert_eq!(browser.value("typeof window.taken"), "undefined");
}

#[test]
fn a_thousand_commits_are_no_burden() {
    let context = TestContext::new();
    let mut stream = String::new();
    for at in 0..1200 {
        let subject = format!("Change number {at}: an ordinary subject of the usual length");
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter Ada Lovelace <ada@example.com> {} +0000\ndata {}\n{subject}\n",
            1_760_000_000 + at * 600,
            subject.len()
        );
    }
    let mut import = context.command("git");
    let mut import = import.args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    context.write(".gitops-hooks.yaml", CONFIG);
    let served = Served::by(&context, &[]);
    let (first, whole) = (served.get("").1, served.get("?count=1000").1);
    assert_eq!((first.matches("<li id=\"row-").count(), whole.matches("<li id=\"row-").count()), (100, 1000));
    println!("100 rows are {} kB, 1,000 are {} kB", first.len() / 1024, whole.len() / 1024);
    assert!(first.len() < 200 << 10 && whole.len() < 1500 << 10);

    let Some(browser) = Browser::start() else { return };
    let paint = "Math.round(performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1)";
    for path in ["", "?count=1000"] {
        let mut times: Vec<i64> = (0..5)
            .map(|_| {
                browser.open(&format!("{}{path}", served.address));
                browser.until(".row:first-child", "Change number 1199");
                browser.value(paint).as_i64().unwrap()
            })
            .collect();
        times.sort_unstable();
        println!("{path:?}: the first paint of five came after {times:?} ms");
    }
    // Nothing moves when it is drawn, and scrolling through all of it moves nothing either.
    let shifts = "performance.getEntriesByType('layout-shift').reduce((sum, shift) => sum + shift.value, 0)";
    browser.value("window.scrollTo(0, document.body.scrollHeight)");
    browser.until("#live", "live");
    assert!(browser.value(shifts).as_f64().unwrap() < 0.01);
    browser.open(&served.address);
    browser.click("[data-more]");
    browser.until(".more", "200 of 1000");
    // What is out of sight is not drawn, but it is there.
    let last = browser.value("document.querySelector('.row:last-child .subject').textContent");
    assert!(last.as_str().unwrap().starts_with("Change number 1000:"), "{last}");
    assert_eq!(browser.value("document.querySelectorAll('.row').length"), 200);
    browser.fits(&[360, 480, 768, 1024, 1280, 2560]);
}

#[test]
fn every_colour_can_be_read() {
    let Some(browser) = Browser::start() else { return };
    let context = TestContext::new();
    context.write(".gitops-hooks.yaml", CONFIG);
    context.git(&["commit", "-q", "--allow-empty", "-m", "One"]);
    let served = Served::by(&context, &[]);
    browser.open(&served.address);
    browser.until("#live", "live");
    // WCAG 2.2, 1.4.3: at least 4.5 to 1 for text, on every ground that it stands on.
    let script = r"(() => {
        const style = getComputedStyle(document.documentElement), canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
        const light = (name) => { canvas.fillStyle = style.getPropertyValue(name); canvas.fillRect(0, 0, 1, 1); const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
        const pairs = [];
        for (const ground of ['--bg', '--surface', '--raised', '--past-bg']) for (const text of ['--text', '--quiet']) pairs.push([text, ground]);
        for (const ground of ['--bg', '--surface']) pairs.push(['--accent', ground], ['--bad', ground]);
        for (const name of ['good', 'bad', 'moving', 'waiting', 'past']) pairs.push([`--${name}`, `--${name}-bg`]);
        pairs.push(['--surface', '--accent']);
        return pairs.map(([text, ground]) => [`${text} on ${ground}`, ratio(text, ground)]).filter(([, ratio]) => !(ratio >= 4.5)).map(([pair, ratio]) => `${pair}: ${ratio.toFixed(2)}`);
    })()";
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        assert_eq!(browser.value(script), serde_json::json!([]), "{scheme}");
    }
    // Names for readers: every link and field has one, headings do not skip a level, each picture says what it is.
    for path in ["", "environments", "trends"] {
        browser.open(&format!("{}{path}", served.address));
        let nameless = "[...document.querySelectorAll('a, button, input:not([type=hidden]), select, svg[role=img], dialog')].filter(e => !(e.innerText?.trim() || e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML)";
        assert_eq!(browser.value(nameless), serde_json::json!([]), "{path}");
        assert_eq!(browser.value("document.querySelectorAll('h1').length"), 1, "{path}");
        assert_eq!(browser.value("document.documentElement.lang"), "en");
    }
}
