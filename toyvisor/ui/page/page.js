// Moving through the run: the timeline, buttons, keys, and how the page looks.

// Timeline ------------------------------------------------------------------------------------

const exits = ways.map((way, number) => ({ ...way, number })).filter((way) => way.exit >= 0);
const RARE_FIRST = "SXKVCHWTPM"; // of several exits in one cell, the one that is shown
let cells = [];
function makeTimeline() {
  const room = Math.max(Math.floor($("timeline").clientWidth / 14), 10);
  const each = Math.max(Math.ceil(exits.length / room), 1);
  cells = [];
  for (let first = 0; first < exits.length; first += each) {
    const some = exits.slice(first, first + each);
    const rank = (exit) => RARE_FIRST.indexOf(exit.letter.toUpperCase());
    const shown = some.reduce((best, exit) => (rank(exit) < rank(best) ? exit : best));
    const depth = Math.max(...some.map((exit) => exit.depth));
    const cell = el("span", { class: `deep${depth}`, "aria-hidden": "true" }, shown.letter);
    cell.title = some.length > 1 ? `exits ${some[0].exit + 1} to ${some[some.length - 1].exit + 1}` : `exit ${some[0].exit + 1}: ${some[0].title}`;
    cells.push({ cell, first: some[0].number, last: some[some.length - 1].number });
  }
  $("timeline").replaceChildren(...cells.map((one) => one.cell));
}
function showTimeline(step) {
  cells.forEach(({ cell, first, last }) => {
    cell.classList.toggle("passed", last < step.way);
    cell.classList.toggle("current", first <= step.way && step.way <= last);
  });
  const way = ways[step.way];
  $("timeline").setAttribute("aria-valuemax", Math.max(run.exits, 1));
  $("timeline").setAttribute("aria-valuenow", way && way.exit >= 0 ? way.exit + 1 : 1);
  $("timeline").setAttribute("aria-valuetext", way && way.exit >= 0 ? `exit ${way.exit + 1}: ${way.title}` : "before the first exit");
}

// Moving --------------------------------------------------------------------------------------

function show() {
  const step = steps[now], way = ways[step.way];
  const [title, what, why, source] = run.explanations[step.explanation].map(text);
  const event = way && way.hops[step.hop] ? `, event ${way.hops[step.hop].event}` : "";
  $("number").value = now + 1;
  $("moment").textContent = `${step.instructions.toLocaleString("en")} instructions${event}`;
  $("what-title").textContent = title;
  $("what").replaceChildren(...prose(what));
  $("why").replaceChildren(...prose(why));
  $("reference").textContent = source;
  showWay(step, way);
  showSource();
  showRegisters();
  showCounters();
  showConsole();
  showQueues();
  showDevices();
  showTimeline(step);
  for (const button of document.querySelectorAll("[data-go]")) {
    const isBack = /back|first/.test(button.dataset.go);
    button.disabled = isBack ? now === 0 : now === steps.length - 1;
  }
  $("announced").textContent = `step ${now + 1}: ${title}`;
  try {
    history.replaceState(null, "", `#step=${now + 1}`);
  } catch { /* some browsers keep that from files */ }
}
// `since`: the step that changes are told against.
function goTo(number, since = number - 1) {
  const target = Math.min(Math.max(number, 0), steps.length - 1);
  if (Number.isNaN(target) || target === now) return;
  now = target;
  state = stateAt(now);
  before = stateAt(Math.min(Math.max(since, 0), now));
  show();
}
function goToHop(way, hop) {
  const found = steps.findIndex((step) => step.way === way && !step.between && (step.whole || step.hop === hop));
  if (found >= 0) goTo(found);
}
function nextExit() {
  const found = steps.findIndex((step, number) => number > now && step.way > steps[now].way);
  return found < 0 ? steps.length - 1 : found;
}
function exitBefore() {
  const first = firstOfWay.get(steps[now].way);
  return first < now ? first : firstOfWay.get(steps[Math.max(first - 1, 0)].way);
}
const GO = {
  first: () => 0, last: () => steps.length - 1, back: () => now - 1, next: () => now + 1,
  "exit-back": exitBefore,
};

let timer = null;
function stop() {
  clearTimeout(timer);
  timer = null;
  $("play").textContent = "▶ play";
  $("play").setAttribute("aria-pressed", "false");
}
function play() {
  if (now === steps.length - 1) goTo(0);
  $("play").textContent = "❚❚ stop";
  $("play").setAttribute("aria-pressed", "true");
  const tick = () => {
    goTo(now + 1);
    if (now === steps.length - 1) stop();
    else timer = setTimeout(tick, Number($("speed").value));
  };
  timer = setTimeout(tick, Number($("speed").value));
}
const toggle = () => (timer === null ? play() : stop());
function jump(name) {
  stop();
  if (name === "exit-next") goTo(nextExit(), now);
  else goTo(GO[name]());
}

// Keys, mouse, looks --------------------------------------------------------------------------

function large() {
  const isOn = document.documentElement.classList.toggle("large");
  $("large").setAttribute("aria-pressed", String(isOn));
  makeTimeline();
  show();
}
const wantsDark = window.matchMedia("(prefers-color-scheme: dark)");
let chosen = "";
function colours() {
  document.documentElement.dataset.theme = chosen || (wantsDark.matches ? "dark" : "light");
}
function theme() {
  chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  colours();
}
const help = () => ($("help").open ? $("help").close() : $("help").showModal());
const KEYS = {
  ArrowRight: () => jump("next"), ArrowLeft: () => jump("back"), Home: () => jump("first"), End: () => jump("last"),
  "Shift+ArrowRight": () => jump("exit-next"), "Shift+ArrowLeft": () => jump("exit-back"),
  " ": toggle, l: large, L: large, t: theme, T: theme, "?": help, "Shift+?": help,
};
document.addEventListener("keydown", (event) => {
  const at = event.target, isField = /^(INPUT|SELECT|TEXTAREA)$/.test(at.tagName);
  const isPressed = event.key === " " && /^(BUTTON|SUMMARY)$/.test(at.tagName);
  if (event.ctrlKey || event.altKey || event.metaKey || isField || isPressed) return;
  if ($("help").open && event.key !== "?") return;
  const name = event.shiftKey && event.key.length > 1 ? `Shift+${event.key}` : event.key;
  if (!KEYS[name]) return;
  event.preventDefault();
  KEYS[name]();
});
document.querySelectorAll("[data-go]").forEach((button) => button.addEventListener("click", () => jump(button.dataset.go)));
$("play").addEventListener("click", toggle);
$("large").addEventListener("click", large);
$("theme").addEventListener("click", theme);
$("help-button").addEventListener("click", help);
$("number").addEventListener("change", () => { stop(); goTo(Number($("number").value) - 1); });
$("timeline").addEventListener("click", (event) => {
  const found = cells.find(({ cell }) => cell === event.target);
  if (!found) return;
  stop();
  goTo(firstOfWay.get(found.first));
});
function addressed() {
  const found = /^#step=(\d+)$/.exec(location.hash);
  return found ? Number(found[1]) - 1 : now;
}
window.addEventListener("hashchange", () => goTo(addressed()));
window.addEventListener("resize", () => { makeTimeline(); show(); });
wantsDark.addEventListener("change", colours);

$("ending").textContent = `${run.instructions.toLocaleString("en")} instructions, ${run.exits.toLocaleString("en")} exits, ${run.events.toLocaleString("en")} events. ${run.ending}`;
$("total").textContent = steps.length.toLocaleString("en");
$("number").max = steps.length;
$("notes").replaceChildren(...run.notes.map((note) => el("li", {}, note)));
$("notes").hidden = run.notes.length === 0;
$("letters").replaceChildren(...Object.entries(run.letters).map(([letter, words]) => el("li", {}, el("b", {}, letter), ` ${words}`)));
$("console").hidden = run.console === "";
$("devices").hidden = run.devices.length === 0;
$("device-list").replaceChildren(...run.devices.map((words) =>
  el("details", {}, el("summary", {}, words, el("span")), el("dl", { class: "values wide" }))));
colours();
makeTimeline();
const asked = addressed();
show();
goTo(asked);
