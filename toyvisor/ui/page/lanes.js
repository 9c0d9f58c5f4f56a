// The four lanes as a drawing, and the same as a list.

// Making elements -----------------------------------------------------------------------------

function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, what] of Object.entries(attributes || {})) made.setAttribute(name, what);
  made.append(...children);
  return made;
}
function svg(tag, attributes, words) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, what] of Object.entries(attributes)) made.setAttribute(name, what);
  if (words !== undefined) made.textContent = words;
  return made;
}
const marked = (words, changed) => (changed ? el("mark", {}, `${words}*`) : words);
// Words in which `this` is code.
const prose = (words) => words.split("`").map((part, number) => (number % 2 ? el("code", {}, part) : part));
// Scrolls only the box, never the page.
function bringIntoView(box, child) {
  if (!child) return;
  const above = child.offsetTop - box.clientHeight / 3;
  if (child.offsetTop < box.scrollTop || child.offsetTop + child.offsetHeight > box.scrollTop + box.clientHeight) {
    box.scrollTop = Math.max(above, 0);
  }
}

// Lanes ---------------------------------------------------------------------------------------

const LANE = 46, COLUMN = 30, LEFT = 64, TOP = 20;
const y = (layer) => TOP + layer * LANE;
function drawLanes(step, way) {
  const drawing = $("drawing"), hops = way ? way.hops : [];
  const last = step.whole ? hops.length - 1 : step.hop;
  const columns = hops.length + (step.between ? 1 : 0);
  const box = drawing.parentElement;
  const scale = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  const width = Math.max(LEFT + columns * COLUMN + 40, (box.clientWidth || 320) / scale);
  const height = TOP + 3 * LANE + 30;
  const x = (column) => LEFT + 14 + column * COLUMN;
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawing.setAttribute("width", width * scale);
  drawing.setAttribute("height", height * scale);
  drawing.replaceChildren();
  LAYERS.forEach((name, layer) => {
    drawing.append(svg("line", { class: "lane", x1: LEFT, x2: width, y1: y(layer), y2: y(layer) }));
    drawing.append(svg("text", { class: `name layer${layer}`, x: 2, y: y(layer) + 5 }, name));
  });
  const points = hops.map((hop, column) => [x(column), y(hop.layer)]);
  if (step.between) points.push([x(hops.length), y(0)]);
  const done = step.between ? points.length : last + 1;
  const line = (some) => some.map(([px, py]) => `${px},${py}`).join(" ");
  drawing.append(svg("polyline", { class: "path later", points: line(points.slice(Math.max(done - 1, 0))) }));
  drawing.append(svg("polyline", { class: "path", points: line(points.slice(0, done)) }));
  const here = Math.max(done - 1, 0);
  if (points.length) drawing.append(svg("circle", { class: "here", cx: points[here][0], cy: points[here][1], r: 12 }));
  hops.forEach((hop, column) => {
    const later = column > last;
    if (!later && column !== here) drawing.append(svg("circle", { class: "under", cx: x(column), cy: y(hop.layer), r: 6 }));
    const mark = svg("text", { class: later ? "mark later" : `mark layer${hop.layer}`, x: x(column), y: y(hop.layer) + 6 }, MARKS[hop.kind] || "•");
    mark.append(svg("title", {}, hop.text));
    mark.addEventListener("click", () => goToHop(step.way, column));
    drawing.append(mark);
  });
  const hop = hops[last];
  if (step.between) {
    drawing.append(svg("text", { class: "mark layer0", x: x(hops.length), y: y(0) + 6 }, "▶"));
    drawLabel(drawing, x(hops.length), y(0), `next: ${value("instruction").replace(/^\w+: /, "")}`, width);
  } else if (hop) {
    drawLabel(drawing, x(last), y(hop.layer), hop.label, width);
    if (hop.place) drawPacket(drawing, x(last), hop.place, width);
  }
  const words = !step.between && hop && hop.place ? `▣ ${hop.place[2]}` : "";
  $("way-words").textContent = step.between && hops.length ? "the guest runs" : words;
  box.scrollLeft = Math.max(points.length ? points[here][0] * scale - box.clientWidth * 0.6 : 0, 0);
}
function drawLabel(drawing, px, py, words, width) {
  const room = width - px - 20;
  const atLeft = words.length * 7.5 > room && px > room;
  drawing.append(svg("text", { class: "label", x: atLeft ? px - 16 : px + 16, y: py - 9, "text-anchor": atLeft ? "end" : "start" }, words));
}
function drawPacket(drawing, px, place, width) {
  const words = `▣ ${place[0]}`, size = words.length * 8.2 + 14;
  const left = Math.max(Math.min(px - size / 2, width - size - 2), LEFT);
  const group = svg("g", { class: "packet" });
  group.append(svg("rect", { x: left, y: y(place[1]) + 8, width: size, height: 18, rx: 3 }));
  group.append(svg("text", { x: left + 5, y: y(place[1]) + 21 }, words));
  drawing.append(group);
}
function showWay(step, way) {
  const exit = way && way.exit >= 0 ? `exit ${way.exit + 1} of ${run.exits}: ` : "";
  $("way-title").textContent = way ? exit + way.title : "before the first event";
  drawLanes(step, way);
  const list = (way ? way.hops : []).map((hop, number) => {
    const later = !step.whole && number > step.hop;
    const button = el("button", { type: "button" },
      el("span", { class: "mark" }, MARKS[hop.kind] || "•"),
      el("span", { class: `who layer${hop.layer}` }, LAYERS[hop.layer]),
      el("span", { class: "text" }, THREADS[hop.thread] + hop.text));
    button.addEventListener("click", () => goToHop(step.way, number));
    const item = el("li", later ? { class: "later" } : {}, button);
    if (!step.between && number === step.hop) item.setAttribute("aria-current", "step");
    return item;
  });
  $("hops").replaceChildren(...list);
  bringIntoView($("way-scroll"), $("hops").querySelector("[aria-current]") || $("hops").lastElementChild);
}
