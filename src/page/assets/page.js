"use strict";
(() => {
  const body = document.body, events = body.dataset.events, sheet = document.getElementById("sheet"), inside = document.getElementById("sheet-body");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Moments as people say them.
  const span = (seconds) => {
    if (seconds < 60) return `${Math.floor(seconds)}s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${String(Math.floor(seconds % 60)).padStart(2, "0")}s`;
    return `${Math.floor(seconds / 3600)}h ${String(Math.floor(seconds % 3600 / 60)).padStart(2, "0")}m`;
  };
  const ago = (seconds) => {
    const steps = [[60, 1, "s"], [3600, 60, " min"], [86400, 3600, " h"], [86400 * 30, 86400, " d"], [86400 * 365, 86400 * 30, " mo"], [Infinity, 86400 * 365, " y"]];
    const [, size, unit] = steps.find(([limit]) => seconds < limit);
    return seconds < 5 ? "just now" : `${Math.floor(seconds / size)}${unit} ago`;
  };
  const tell = (root = document) => {
    const since = (time) => Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
    for (const time of all("time[data-ago]", root)) time.textContent = ago(since(time));
    for (const time of all("time[data-running]", root)) time.textContent = span(since(time));
  };
  tell();
  setInterval(tell, 1000);

  // What has changed, wherever it stands.
  const element = (html) => { const holder = document.createElement("template"); holder.innerHTML = html; return holder.content.firstElementChild; };
  const named = (id) => all(`[data-frag="${CSS.escape(id)}"]`);
  const apply = ({ changed, gone }) => {
    const open = inside.querySelector("[data-refresh]");
    for (const one of changed) {
      const here = named(one.id), list = one.list && document.getElementById(one.list);
      for (const old of here) {
        const fresh = element(one.html), had = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
        // What a person has unfolded stays so.
        const unfolded = all("details", old).map((each) => each.open);
        all("details", fresh).forEach((each, at) => { each.open = unfolded[at] ?? each.open; });
        old.replaceWith(fresh);
        if (had) fresh.querySelector(`a[href="${CSS.escape(had)}"]`)?.focus({ preventScroll: true });
        tell(fresh);
      }
      if (!here.length && list) {
        const next = one.before && document.getElementById(one.before), fresh = element(one.html);
        if (next) list.insertBefore(fresh, next); else if (!list.children.length) list.append(fresh);
        tell(fresh);
      }
    }
    for (const id of gone) for (const old of named(id)) old.remove();
    if (all(".rows > li").length) for (const empty of all("main > .empty")) empty.remove();
    if (open && sheet.open && changed.some((one) => one.id === open.dataset.refresh)) show(open.dataset.href, false);
  };
  const live = document.getElementById("live");
  const state = (name, text) => { live.dataset.state = name; live.querySelector(".text").textContent = text; };
  const again = async () => {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("main").replaceChildren(...page.getElementById("main").childNodes);
    body.dataset.generation = page.body.dataset.generation;
    tell();
  };
  if (events) {
    let source;
    const listen = () => {
      source = new EventSource(`${events}?generation=${body.dataset.generation}`);
      source.addEventListener("current", () => state("live", "live"));
      source.addEventListener("stale", async () => { await again(); state("live", "live"); });
      source.addEventListener("patch", (event) => { const patch = JSON.parse(event.data); apply(patch); body.dataset.generation = patch.generation; });
      source.onerror = () => { state("lost", "ended: run gitops-hooks ui"); source.close(); setTimeout(listen, 2000); };
    };
    listen();
    addEventListener("pagehide", () => source.close());
    addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  }

  // Details and confirmations, beside the page.
  const show = async (href, focus = true) => {
    let html;
    try {
      const answer = await fetch(`${href}${href.includes("?") ? "&" : "?"}part=1`);
      html = await answer.text();
    } catch {
      html = '<section class="notice bad"><h2>The page\'s server does not answer</h2><p>Run <code>gitops-hooks ui</code> again.</p></section>';
    }
    const unfolded = all("details", inside).map((each) => each.open), top = sheet.scrollTop;
    inside.innerHTML = html;
    tell(inside);
    if (!sheet.open) sheet.showModal();
    if (focus) { sheet.scrollTop = 0; inside.querySelector("input:not([type=hidden]):not([type=checkbox]), select, button")?.focus(); }
    else { all("details", inside).forEach((each, at) => { each.open = unfolded[at] ?? each.open; }); sheet.scrollTop = top; }
    typed();
  };
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a, button");
    if (event.target === sheet || link?.matches(".close, [data-close]")) { if (sheet.open) { event.preventDefault(); sheet.close(); } return; }
    if (!link || !events || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    if (link.matches("[data-sheet]")) { event.preventDefault(); show(link.href); }
    if (link.matches("[data-more]")) {
      event.preventDefault();
      const page = new DOMParser().parseFromString(await (await fetch(link.href)).text(), "text/html");
      const known = document.getElementById("rows"), first = page.querySelector("#rows > li");
      for (const row of all("#rows > li", page)) if (!document.getElementById(row.id)) known.append(row);
      document.querySelector(".more")?.replaceWith(...all(".more", page));
      tell();
      document.getElementById(first?.id)?.querySelector("a").focus();
    }
  });
  sheet.addEventListener("close", () => inside.replaceChildren());

  // The command, word by word, as it will be run.
  const quoted = (word) => /^[\w./:@=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
  const typed = () => {
    const form = document.querySelector(".confirm"), code = form?.querySelector("code[data-verb]");
    if (!code) return;
    const words = [];
    for (const field of all("[data-flag]", form)) {
      const flag = field.dataset.flag;
      if (field.type === "checkbox") { if (field.checked) words.push(flag); }
      else if (field.value.trim() && flag) words.push(quoted(flag + field.value.trim()));
    }
    const { verb, environment } = code.dataset;
    if (verb === "hold") words.push("--", environment, quoted(form.elements.message.value.trim() || "…"));
    else words.push(environment);
    code.textContent = ["gitops-hooks", verb, ...words].join(" ");
  };
  document.addEventListener("input", typed);
  typed();
  document.addEventListener("submit", async (event) => {
    if (!event.target.matches(".confirm") || !sheet.open) return;
    event.preventDefault();
    event.target.querySelector("[type=submit]").disabled = true;
    const answer = await fetch(`${event.target.getAttribute("action")}?part=1`, { method: "POST", body: new URLSearchParams(new FormData(event.target)) });
    inside.innerHTML = await answer.text();
    // It may have ended before it was shown.
    const act = inside.querySelector("[data-frag^=act-]");
    if (act) { const known = await fetch(`${events.replace(/events$/, "")}act/${act.dataset.frag.slice(4)}`); if (known.ok) inside.innerHTML = await known.text(); }
    tell(inside);
  });

  // Keys.
  document.addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || event.target.matches("input, select, textarea")) return;
    const view = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (view && !sheet.open) view.click();
    const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || sheet.open || (event.key.startsWith("Arrow") && !document.activeElement.matches("[data-row]"))) return;
    const rows = all("[data-row]"), at = rows.indexOf(document.activeElement);
    const next = rows[Math.min(rows.length - 1, Math.max(0, at + step))];
    if (next) { event.preventDefault(); next.focus(); }
  });
})();
