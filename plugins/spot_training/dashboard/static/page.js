// Draws the charts from the facts in the page, and updates the page of a running training.
// The page is complete without this script: its tables have all figures.

const REFRESH_MS = 3000;
const MOST_REFRESH_MS = 60000;
// Undefined if the package with the charts is not installed. Then the page says so instead of showing charts.
const charts = document.querySelector("script[data-charts]")?.dataset.charts;
const views = new Map();
const narrow = matchMedia("(max-width: 600px)");

const CONFIG = {
  background: null,
  font: getComputedStyle(document.body).fontFamily,
  padding: { left: 0, right: 6, top: 4, bottom: 0 },
  view: { stroke: null },
  axis: {
    labelColor: "var(--fg-muted)", titleColor: "var(--fg-muted)", gridColor: "var(--grid)", domainColor: "var(--border)",
    tickColor: "var(--border)", labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal", labelLimit: 150,
  },
  legend: { labelColor: "var(--fg-muted)", titleColor: "var(--fg-muted)", labelFontSize: 11, symbolType: "square", orient: "top", title: null },
};

const read = (root) => JSON.parse(root.getElementById("facts").textContent);
const round = (value) => Math.round(value * 100) / 100;
const money = (unit) => (value) =>
  value && Math.abs(value) < 0.005 ? `<${unit}0.01` : unit + value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const dollars = money("$");
const hours = (value) => value.toLocaleString("en", { maximumFractionDigits: 2 }) + " h";

function words(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  const left = minutes % 60 ? ` ${minutes % 60} min` : "";
  return minutes < 1440 ? `${Math.floor(minutes / 60)} h${left}` : `${round(minutes / 1440)} d`;
}

const clock = (text) => text.slice(0, 19).replace("T", " ");

const PARTS = [
  { name: "billed", colour: "var(--billed-bar)" }, { name: "saved", colour: "var(--saved-bar)" },
  { name: "more than on-demand", colour: "var(--lost-bar)" },
];

function savings({ periods, has_dollars: inDollars, step }) {
  const say = inDollars ? dollars : hours;
  const values = periods.flatMap((period) => {
    const billed = inDollars ? period.billed_usd : period.billed_hours;
    const clean = inDollars ? period.clean_run_usd : period.clean_run_hours;
    const text = {
      from: period.starts_on, until: after(Date.parse(period.starts_on), step), billed_text: say(billed), clean_text: say(clean), trainings: period.trainings,
      saved_text: period.savings_percent === null ? "unknown" : `${period.savings_percent} %`,
    };
    return [
      { ...text, part: "billed", from_value: 0, value: Math.min(billed, clean) },
      { ...text, part: "saved", from_value: billed, value: Math.max(clean - billed, 0) },
      { ...text, part: "more than on-demand", from_value: clean, value: Math.max(billed - clean, 0) },
    ].filter((row) => row.value > 0).map((row) => ({ ...row, to_value: row.from_value + row.value, label: `${step} from ${row.from}, ${row.part}: ${say(row.value)}` }));
  });
  const parts = PARTS.filter(({ name }) => values.some((row) => row.part === name));
  const starts = steps(periods.map((period) => Date.parse(period.starts_on)), step);
  return {
    height: 220,
    data: { values },
    mark: { type: "rect", x2Offset: -2, cornerRadius: 1 },
    encoding: {
      x: { field: "from", type: "temporal", title: "UTC",
        scale: { type: "utc", domainMin: { expr: String(starts[0]) }, domainMax: { expr: String(starts.at(-1)) }, nice: false },
        axis: { grid: false, format: step === "month" ? "%b %Y" : "%b %d", values: starts.map(utc), domain: true, labels: true, ticks: true, labelOverlap: true },
      },
      x2: { field: "until" },
      y2: { field: "to_value" },
      y: { field: "from_value", type: "quantitative", title: inDollars ? "US dollars" : "instance-hours", axis: { tickCount: 5, domain: false, ticks: false } },
      color: {
        field: "part",
        scale: { domain: parts.map(({ name }) => name), range: parts.map(({ colour }) => colour) },
      },
      description: { field: "label" },
      tooltip: [
        { field: "from", title: `${step} from` }, { field: "trainings" }, { field: "billed_text", title: "billed" },
        { field: "clean_text", title: "on demand" }, { field: "saved_text", title: "saved" },
      ],
    },
  };
}

// A bar is never wider than an eighth of the chart, however few there are.
const LEAST_STEPS = 8;
function after(moment, step, count = 1) {
  const date = new Date(moment);
  if (step === "month") return date.setUTCMonth(date.getUTCMonth() + count);
  return date.setUTCDate(date.getUTCDate() + count * (step === "week" ? 7 : 1));
}

const utc = (moment) => {
  const date = new Date(moment);
  return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, date: date.getUTCDate(), utc: true };
};

function steps(starts, step) {
  const found = [Math.min(...starts)];
  while (found.at(-1) <= Math.max(...starts)) found.push(after(found.at(-1), step));
  while (found.length <= LEAST_STEPS) {
    found.push(after(found.at(-1), step));
    if (found.length <= LEAST_STEPS) found.unshift(after(found[0], step, -1));
  }
  return found;
}

function heat(rows, field, colour, say) {
  const types = new Set(rows.map((row) => row.instance_type));
  const values = rows.filter((row) => row[field] !== null).map((row) => ({
    ...row, time: `${String(row.hour).padStart(2, "0")}:00`, text: say(row[field]),
    label: `${row.instance_type} at ${row.hour}:00: ${say(row[field])}`,
  }));
  return {
    height: { step: 26 },
    data: { values },
    mark: { type: "rect", color: colour, cornerRadius: 2 },
    encoding: {
      x: {
        field: "hour", type: "ordinal", scale: { domain: [...Array(24).keys()], paddingInner: 0.08 },
        axis: { title: "hour (UTC)", labelAngle: 0, values: [0, 3, 6, 9, 12, 15, 18, 21], domain: false, ticks: false },
      },
      y: {
        field: "instance_type", type: "nominal", title: null, scale: { domain: [...types], paddingInner: 0.08 },
        axis: { domain: false, ticks: false, minExtent: 100 },
      },
      opacity: { field, type: "quantitative", scale: { domainMin: 0, range: [0.06, 1] }, legend: null },
      description: { field: "label" },
      tooltip: [
        { field: "instance_type", title: "type" }, { field: "time", title: "hour" }, { field: "text", title: field === "interruptions" ? "interruptions" : "average wait" },
        { field: "attempts" },
      ],
    },
  };
}

const PHASES = ["waiting", "downloading", "training", "uploading", "interrupted", "stopping"];
const left = () => (narrow.matches ? 84 : 150);

function span({ bars, lines, marks, scout_bars: scouts }) {
  const moments = [...[...bars, ...scouts].flatMap((bar) => [bar.started_at, bar.ended_at]), ...lines.map((line) => line.at), ...marks.map((mark) => mark.at)];
  const times = moments.map((moment) => Date.parse(moment));
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const margin = Math.max((last - first) * 0.01, 1000);
  return [first - margin, last + margin];
}

const DAY_MS = 86400000;
const timeAxis = ([first, last]) => ({
  type: "temporal", title: "UTC",
  scale: { type: "utc", domainMin: { expr: String(first) }, domainMax: { expr: String(last) }, nice: false },
  axis: { grid: true, tickCount: narrow.matches ? 4 : 8, labelOverlap: true, format: clockFormat(last - first) },
});

function clockFormat(milliseconds) {
  if (milliseconds < DAY_MS / 144) return "%H:%M:%S";
  return milliseconds < DAY_MS ? "%H:%M" : "%b %d %H:%M";
}

function attempts(timeline) {
  const names = new Map(timeline.attempts.map((row) => [row.number, `${row.number}  ${row.purchase}${narrow.matches ? "\n" : " "}${row.instance_type.replace(/^ml\./, "")}`.trim()]));
  const rows = [...names.values()];
  const domain = span(timeline);
  const bars = timeline.bars.map((bar) => {
    const text = `${words((Date.parse(bar.ended_at) - Date.parse(bar.started_at)) / 1000)}${bar.is_open ? " so far" : ""}`;
    return { ...bar, row: names.get(bar.attempt), text, from: clock(bar.started_at), label: `Attempt ${bar.attempt}, ${bar.phase}: ${text}` };
  });
  const marks = timeline.marks.map((mark) => ({
    ...mark, row: names.get(mark.attempt) ?? rows[rows.length - 1], text: clock(mark.at), label: `Decision to ${mark.action}: ${mark.reason}`,
  }));
  // The names of the lines are one above the other, and on that side of the line where there is more room.
  const lines = timeline.lines.map((line, index) => ({
    ...line, text: clock(line.at), label: `${line.name}: ${clock(line.at)}`, colour: line.name === "deadline" ? "var(--lost)" : "var(--fg-muted)",
    above: -2 - 14 * (timeline.lines.length - 1 - index), is_late: Date.parse(line.at) - domain[0] > (domain[1] - domain[0]) / 2,
  }));
  const names_of_lines = lines.map((line) => ({
    data: { values: [line] },
    mark: { type: "text", align: line.is_late ? "right" : "left", baseline: "bottom", dx: line.is_late ? -4 : 4, fontSize: 11, aria: false },
    encoding: { x: { field: "at", type: "temporal" }, y: { value: line.above }, text: { field: "name" }, color: { field: "colour", scale: null } },
  }));
  const y = { field: "row", type: "nominal", title: null, sort: null, scale: { domain: rows, paddingInner: 0.45, paddingOuter: 0.35 }, axis: { domain: false, ticks: false, minExtent: left(), maxExtent: left(), labelExpr: "split(datum.label, '\\n')" } };
  return {
    height: { step: 44 },
    layer: [
      {
        data: { name: "bars", values: bars },
        mark: { type: "bar", cornerRadius: 2, minBandSize: 2 },
        encoding: {
          x: { field: "started_at", ...timeAxis(domain) }, x2: { field: "ended_at" }, y,
          color: { field: "phase", legend: null, scale: { domain: PHASES, range: PHASES.map((phase) => `var(--${phase})`) } },
          description: { field: "label" },
          tooltip: [{ field: "phase" }, { field: "text", title: "duration" }, { field: "from", title: "from (UTC)" }, { field: "status", title: "AWS status" }],
        },
      },
      {
        data: { values: lines },
        mark: { type: "rule", strokeDash: [4, 3], strokeWidth: 1.5 },
        encoding: {
          x: { field: "at", type: "temporal" }, color: { field: "colour", scale: null }, description: { field: "label" },
          tooltip: [{ field: "name", title: "time" }, { field: "text", title: "at (UTC)" }],
        },
      },
      ...names_of_lines,
      {
        data: { values: marks },
        mark: { type: "point", shape: "diamond", filled: true, size: 90, color: "var(--decision)", opacity: 1, stroke: "var(--bg)", strokeWidth: 1, yOffset: -15 },
        encoding: {
          x: { field: "at", type: "temporal" }, y, description: { field: "label" },
          tooltip: [{ field: "action", title: "decision" }, { field: "reason" }, { field: "text", title: "at (UTC)" }],
        },
      },
    ],
  };
}

// One thin row for each type that scouts looked for, however many went out.
function scouts(timeline) {
  const short = (name) => `scout${narrow.matches ? "\n" : " "}${name.replace(/^ml\./, "")}`;
  const values = timeline.scout_bars.map((bar) => {
    const text = words((Date.parse(bar.ended_at) - Date.parse(bar.started_at)) / 1000);
    const state = bar.has_capacity ? "with capacity" : "waiting";
    return { ...bar, row: short(bar.instance_type), state, text, from: clock(bar.started_at), label: `Scout ${bar.scout} for ${bar.instance_type}, ${state}: ${text}` };
  });
  return {
    height: { step: narrow.matches ? 28 : 16 },
    data: { values },
    mark: { type: "bar", height: 6, cornerRadius: 1 },
    encoding: {
      x: { field: "started_at", ...timeAxis(span(timeline)), axis: { ...timeAxis(span(timeline)).axis, labels: false, ticks: false, domain: false, title: null } }, x2: { field: "ended_at" },
      y: { field: "row", type: "nominal", title: null, sort: null, axis: { domain: false, ticks: false, minExtent: left(), maxExtent: left(), labelExpr: "split(datum.label, '\\n')" } },
      color: { field: "state", legend: null, scale: { domain: ["waiting", "with capacity"], range: ["var(--waiting)", "var(--scout)"] } },
      description: { field: "label" },
      tooltip: [{ field: "scout" }, { field: "instance_type", title: "type" }, { field: "state" }, { field: "text", title: "duration" }, { field: "from", title: "from (UTC)" }],
    },
  };
}

function cost(timeline) {
  const currency = timeline.costs[0]?.currency;
  const unit = currency ? "in_currency" : "usd";
  const inMoney = timeline.costs.every((point) => point[`billed_${unit}`] !== null);
  const say = !inMoney ? hours : currency ? money(`${currency} `) : dollars;
  const values = timeline.costs.flatMap((point) => [
    { name: "on demand", value: inMoney ? point[`on_demand_${unit}`] : point.on_demand_hours },
    { name: "billed", value: inMoney ? point[`billed_${unit}`] : point.billed_hours },
  ].map((row) => ({ ...row, at: point.at, text: say(row.value), when: clock(point.at), label: `${row.name} at ${clock(point.at)}: ${say(row.value)}` })));
  return {
    height: 130,
    data: { values },
    mark: { type: "line", strokeWidth: 2, point: { size: 12, opacity: 1 } },
    encoding: {
      x: { field: "at", ...timeAxis(span(timeline)) },
      y: { field: "value", type: "quantitative", title: null, axis: { tickCount: 4, domain: false, ticks: false, minExtent: left(), maxExtent: left(), format: !inMoney ? ",.2~f" : currency ? ",.2f" : "$,.2f", tickMinStep: 0.01 } },
      color: { field: "name", legend: { symbolType: "stroke", symbolStrokeWidth: 2, symbolSize: 300 }, scale: { domain: ["billed", "on demand"], range: ["var(--billed-bar)", "var(--on-demand)"] } },
      strokeDash: { field: "name", scale: { domain: ["billed", "on demand"], range: [[1, 0], [5, 3]] } },
      description: { field: "label" },
      tooltip: [{ field: "name", title: "cost" }, { field: "text", title: "so far" }, { field: "when", title: "at (UTC)" }],
    },
  };
}

function specs(facts) {
  if (facts.kind === "overview") {
    return {
      "savings-chart": savings(facts),
      "waits-chart": heat(facts.hours, "wait_seconds", "var(--heat-wait)", words),
      "interruptions-chart": heat(facts.hours, "interruptions", "var(--heat-loss)", String),
    };
  }
  if (!facts.timeline?.bars.length) return {};
  const { timeline } = facts;
  const thin = timeline.scout_bars.length ? { "scouts-chart": scouts(timeline) } : {};
  return { "timeline-chart": attempts(timeline), ...thin, "cost-chart": cost(timeline) };
}

async function draw(facts) {
  if (!charts) return;
  await import(new URL(charts, document.baseURI));
  for (const [id, spec] of Object.entries(specs(facts))) {
    const place = document.getElementById(id);
    if (!place) continue;
    const whole = {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container",
      description: place.getAttribute("aria-label"), config: CONFIG, ...spec,
    };
    // The interpreter (`ast`) does not need eval, which the page's Content-Security-Policy forbids.
    const options = { ast: true, renderer: "svg", actions: false, defaultStyle: false, tooltip: { disableDefaultStyle: true } };
    place.style.minHeight = `${place.offsetHeight}px`;
    const drawn = await window.vegaEmbed(place, whole, options);
    views.get(id)?.finalize();
    views.set(id, drawn);
  }
  document.documentElement.dataset.drawn = String(Number(document.documentElement.dataset.drawn ?? 0) + 1);
}

function show(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const news = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    if (!news || news.innerHTML === part.dataset.shown) continue;
    part.dataset.shown = news.innerHTML;
    const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const opened = [...part.querySelectorAll("details")].map((details) => details.open);
    part.replaceChildren(...document.importNode(news, true).childNodes);
    part.querySelectorAll("details").forEach((details, index) => { details.open = opened[index] ?? false; });
    if (focused) [...part.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus({ preventScroll: true });
  }
}

// Asks again until the training is over, at longer intervals while the server does not answer. `news` of the
// overview are at an address that has only what runs now.
async function keepUpToDate(before) {
  let facts = before;
  let wait = REFRESH_MS;
  while (facts.is_live) {
    await new Promise((resolve) => { setTimeout(resolve, wait); });
    if (document.hidden) continue;
    try {
      const answer = await fetch(before.news ?? location.href, { cache: "no-store" });
      if (answer.status === 401 || answer.status === 403) return;
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const news = read(fresh);
      if (news.kind === "now") { show(fresh); wait = REFRESH_MS; continue; }
      if (!facts.timeline && news.timeline) { location.reload(); return; }
      const changed = JSON.stringify(news) !== JSON.stringify(facts);
      facts = news;
      wait = REFRESH_MS;
      if (changed) { show(fresh); await draw(facts); }
    } catch {
      wait = Math.min(wait * 2, MOST_REFRESH_MS);
    }
  }
}

// Airflow's frame lets a link open neither a tab nor a page in the whole window. Its own document may do both.
function leave(event) {
  const link = event.target.closest?.("a[target]");
  if (!link || parent === self) return;
  try {
    const outer = parent.document.createElement("a");
    const is_new_tab = link.target === "_blank" || event.ctrlKey || event.metaKey || event.shiftKey;
    Object.assign(outer, { href: link.href, target: is_new_tab ? "_blank" : "_top", rel: "noopener" });
    outer.click();
    event.preventDefault();
  } catch {
    // Framed by another site: the link does what the frame allows.
  }
}

function unfold(event) {
  const isOpen = document.getElementById("filters").classList.toggle("open");
  event.currentTarget.setAttribute("aria-expanded", String(isOpen));
}

document.addEventListener("click", leave);
document.querySelector(".fold button")?.addEventListener("click", unfold);

const facts = read(document);
try {
  await draw(facts);
} catch (error) {
  document.querySelectorAll(".chart").forEach((chart) => chart.classList.add("failed"));
  console.error(error);
}
narrow.addEventListener("change", () => draw(read(document)));
keepUpToDate(facts);
