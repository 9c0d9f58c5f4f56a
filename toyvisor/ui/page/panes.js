// What there is to see of the machine at the step that is shown.

// Source --------------------------------------------------------------------------------------

let shownFile = -1;
function showSource() {
  const [file, line] = value("at") ? value("at").split(":").map(Number) : [shownFile, 0];
  $("instruction").textContent = value("instruction");
  if (file < 0 || !run.files[file]) return;
  const lines = $("lines");
  if (file !== shownFile) {
    shownFile = file;
    $("file").textContent = run.files[file].name;
    lines.replaceChildren(...run.files[file].lines.map((words, number) =>
      el("li", {}, el("span", { class: "n" }, `${number + 1}`), words || " ")));
  }
  const old = lines.querySelector("[aria-current]");
  if (old) {
    old.removeAttribute("aria-current");
    old.firstElementChild.textContent = old.firstElementChild.textContent.replace("▶ ", "");
  }
  const current = lines.children[line - 1];
  if (!current) return;
  current.setAttribute("aria-current", "true");
  current.firstElementChild.textContent = `▶ ${line}`;
  bringIntoView($("source-scroll"), current);
}

// Registers, counters, console, devices -------------------------------------------------------

const pair = ([name, words, changed]) => el("div", {}, el("dt", {}, name), el("dd", {}, marked(words, changed)));
function showRegisters() {
  $("mode").textContent = value("mode");
  $("general").replaceChildren(...rows("r.").map(pair));
  $("flags").replaceChildren(...rows("f.").map(([name, words, changed]) =>
    el("li", words === "0" ? {} : { class: "set" }, marked(`${name} ${words}`, changed))));
  $("system").replaceChildren(...[...rows("s."), ...rows("k.")].map(pair));
}
// In this order, whatever was counted first.
const COUNTED = ["vmexits", "went ", "ended ", "exits:", "copies", "system call", "interrupts", "notifications", "context", "packets"];
function showCounters() {
  const reasons = rows("x.").map(([name, words, changed]) => [`exits: ${name}`, words, changed]);
  const rank = (row) => COUNTED.findIndex((start) => row[0].startsWith(start));
  const counted = [...rows("c."), ...reasons].sort((a, b) => rank(a) - rank(b));
  $("counted").replaceChildren(...counted.map(([name, words, changed]) => {
    const [count, more] = words.split("\t");
    const sub = /^(copies |system call |went |ended |exits:)/.test(name);
    return el("tr", sub ? { class: "sub" } : {}, el("th", { scope: "row" }, name),
      el("td", {}, marked(count, changed)), el("td", {}, more || ""));
  }));
}
function showConsole() {
  const length = Number(value("console") || 0);
  const changed = isChanged("console") && now > 0;
  const from = changed ? Number(text(before[keyNumber.get("console")]) || 0) : length;
  const old = run.console.slice(0, Math.min(from, length)), fresh = run.console.slice(from, length);
  $("printed").replaceChildren(old, fresh ? el("mark", {}, fresh) : "");
  $("printed").scrollTop = $("printed").scrollHeight;
}
function showDevices() {
  $("device-list").querySelectorAll("details").forEach((details, number) => {
    const found = rows(`d${number}.`);
    details.querySelector("dl").replaceChildren(...found.map(pair));
    details.querySelector("summary span").textContent = found.some((row) => row[2]) ? " *" : "";
  });
}

// Virtqueues ----------------------------------------------------------------------------------

const inOrder = (prefix) => rows(prefix).sort((a, b) => a[0] - b[0]);
const side = (owner) => ({ class: `owner-${owner.split(":")[0]}` });
function ring(caption, heads, bodies) {
  const table = el("table", { class: "ring" }, el("caption", {}, caption));
  table.append(el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))));
  table.append(el("tbody", {}, ...bodies));
  return table;
}
function slots(caption, heads, prefix) {
  return ring(caption, ["slot", ...heads, "whose", "next"], inOrder(prefix).map(([slot, words, changed]) => {
    const [entry, owner, pointer] = words.split("\t");
    return el("tr", {}, el("th", { scope: "row" }, slot), el("td", {}, marked(entry || "-", changed)),
      el("td", side(owner), owner), el("td", {}, pointer ? `◀ ${pointer}` : ""));
  }));
}
function showQueue(number) {
  const prefix = `q${number}.`;
  const one = (name) => marked(value(prefix + name), isChanged(prefix + name));
  const box = el("div", {}, el("h3", {}, run.queues[number]));
  if (value(`${prefix}problem`)) box.append(el("p", {}, value(`${prefix}problem`)));
  box.append(el("p", { class: "progress" }, "given ", one("given"), " ▸ taken ", one("taken"), " ▸ given back ", one("given back"), " ▸ seen ", one("seen"),
    ` (${value(`${prefix}size`)} entries${value(`${prefix}served by`) ? `, served by ${value(`${prefix}served by`)}` : ""})`));
  const descriptors = ring("descriptors (the driver writes)", ["", "address", "length", "flags", "next", "whose"],
    inOrder(`${prefix}d.`).map(([index, words, changed]) => {
      const [address, length, flags, next, owner, table] = words.split("\t");
      return el("tr", {}, el("th", { scope: "row" }, index), el("td", {}, marked(address, changed)), el("td", {}, length),
        el("td", {}, table ? `${flags} (${table})` : flags), el("td", {}, next ? `→ ${next}` : ""), el("td", side(owner), owner));
    }));
  const flags = (name) => [value(`${prefix}${name}.flags`), value(prefix + (name === "avail" ? "used_event" : "avail_event"))].filter(Boolean);
  box.append(el("div", { class: "rings", tabindex: "0", role: "region", "aria-label": `rings of ${run.queues[number]}` }, descriptors, el("div", {},
    slots(["available ring (driver)", ...flags("avail")].join(", "), ["head"], `${prefix}a.`),
    slots(["used ring (device)", ...flags("used")].join(", "), ["head, bytes"], `${prefix}u.`))));
  return box;
}
function showQueues() {
  const shown = run.queues.map((_, number) => number).filter((number) => value(`q${number}.size`) || value(`q${number}.problem`));
  // The one that something happened to first.
  shown.sort((a, b) => rows(`q${b}.`).filter((r) => r[2]).length - rows(`q${a}.`).filter((r) => r[2]).length);
  $("queue").hidden = shown.length === 0;
  $("queues").replaceChildren(...shown.map(showQueue));
}
