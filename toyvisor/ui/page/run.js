// Shows one recorded run. The run is data in the element #run (made by toyvisor/ui/page/page.py):
//
//   texts, keys, kinds       words by their numbers
//   steps                    [instructions, way, hop, between, whole, explanation, differences]
//   ways                     [number of the exit or -1, title, letter, deepest layer, hops]
//   hops                     [event, layer, thread, kind, label, text, place]
//   places                   [place, layer, words]
//   explanations             [title, what, why, source]
//
// Differences are pairs [key, text] against the step before; text -1: the key is gone. What a
// guest made comes onto the page as text only (textContent), never as markup.

const run = JSON.parse(document.getElementById("run").textContent);
const LAYERS = ["guest", "KVM", "QEMU", "host"];
const THREADS = ["", "main loop: ", "vhost: "];
const MARKS = { vm_exit: "○", vm_entry: "●", copy: "◆", syscall: "$", kvm_inj_virq: "!", kvm_inj_nmi: "!", guest_error: "✗" };
const EVERY = 64; // steps from one kept state to the next
const $ = (id) => document.getElementById(id);
const text = (number) => run.texts[number];

// Steps and ways ------------------------------------------------------------------------------

const steps = run.steps.map((row) => {
  const [instructions, way, hop, between, whole, explanation, differences] = row;
  return { instructions, way, hop, between: between === 1, whole: whole === 1, explanation, differences };
});
const ways = run.ways.map(([exit, title, letter, depth, hops]) => ({
  exit, letter, depth, title: text(title),
  hops: hops.map(([event, layer, thread, kind, label, words, place]) => ({
    event, layer, thread, kind: run.kinds[kind], label: text(label), text: text(words),
    place: place < 0 ? null : run.places[place],
  })),
}));
const firstOfWay = new Map();
steps.forEach((step, number) => { if (!firstOfWay.has(step.way)) firstOfWay.set(step.way, number); });

// The state at a step -------------------------------------------------------------------------

const kept = [];
function apply(state, differences) {
  for (let i = 0; i < differences.length; i += 2) state[differences[i]] = differences[i + 1];
}
const running = new Int32Array(run.keys.length).fill(-1);
steps.forEach((step, number) => {
  apply(running, step.differences);
  if (number % EVERY === 0) kept.push(running.slice());
});
function stateAt(number) {
  const base = Math.floor(number / EVERY);
  const state = kept[base].slice();
  for (let n = base * EVERY + 1; n <= number; n++) apply(state, steps[n].differences);
  return state;
}
const keyNumber = new Map(run.keys.map((key, number) => [key, number]));

// What is shown now
let now = 0;
let state = stateAt(0);
let before = state;
const value = (key) => {
  const number = keyNumber.get(key);
  return number === undefined || state[number] < 0 ? "" : text(state[number]);
};
function isChanged(key) {
  const number = keyNumber.get(key);
  return number !== undefined && state[number] !== before[number];
}
// [rest of the key, text, changed] of all keys with a prefix.
function rows(prefix) {
  const found = [];
  run.keys.forEach((key, number) => {
    if (key.startsWith(prefix) && state[number] >= 0) {
      found.push([key.slice(prefix.length), text(state[number]), state[number] !== before[number]]);
    }
  });
  return found;
}
