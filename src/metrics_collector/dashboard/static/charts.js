// The charts, by plotly: each element with `data-chart` is filled by the function of that name, from the page's data.

const SERIES = ["blue", "green", "amber", "purple"]; // of the lines or bars that stand beside each other
const OF_TYPES = ["failed", ...SERIES]; // of errors, as many as the server gives at most
const COLOURS = ["panel", "line", "text", "muted", "accent", "calls", ...OF_TYPES, "other", "few", "many"];
const CONFIG = { displayModeBar: false, responsive: true, showTips: false, doubleClick: false };
const NARROW = matchMedia("(max-width: 640px)");
const BY_TOUCH = matchMedia("(pointer: coarse)");

// plotly takes some of HTML in names for markup; nothing of a name shall be.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const shortened = (text, most) => (text.length > most ? `…${text.slice(1 - most)}` : text);
const time = (seconds) => new Date(seconds * 1000).toISOString();
const epoch = (text) => Date.parse(text) / 1000;

function duration(seconds) {
  for (const [scale, unit] of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]]) {
    if (seconds >= scale * 0.9995 || unit === "ns") return `${+(seconds / scale).toPrecision(3)} ${unit}`;
  }
}

function longDuration(seconds) {
  for (const [length, unit, least] of [[86400, "d", 172800], [3600, "h", 7200], [60, "min", 600]]) {
    if (seconds >= least) return `${(seconds / length).toLocaleString("en", { maximumSignificantDigits: 3 })} ${unit}`;
  }
  return duration(seconds);
}

// Calls a second, or a minute or an hour where they are rare, so that an axis shows no thousandths.
function rates(perSecond) {
  const most = Math.max(...perSecond);
  const [seconds, unit] = [[1, "a second"], [60, "a minute"], [3600, "an hour"]].find(([length]) => most * length >= 1 || length === 3600);
  return { y: perSecond.map((n) => n * seconds), unit, scale: seconds };
}

function colours() {
  const probe = document.body.appendChild(document.createElement("span"));
  const found = {};
  for (const name of COLOURS) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

const faint = (rgb, alpha) => rgb.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);

function layout(c, more) {
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 11.5, color: c.muted },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 56, r: 8, t: 8, b: 26 },
    showlegend: false,
    hoverlabel: { bgcolor: c.panel, bordercolor: c.line, font: { color: c.text, size: 12 }, align: "left" },
    dragmode: BY_TOUCH.matches ? false : "zoom",
    ...more,
  };
}

// What is switched off in a legend stays so when the chart is drawn anew; by the `uid` of its trace.
const legend = (c) => ({ uirevision: "kept", orientation: "h", x: 1, xanchor: "right", y: 1.02, yanchor: "bottom", font: { color: c.text } });
const axis = (c, more) => ({
  gridcolor: c.line, zerolinecolor: c.line, linecolor: c.line, tickcolor: c.line,
  fixedrange: true, rangemode: "tozero", nticks: 5, automargin: false, ...more,
});

// What a part of a chart shows, above it on the left.
const caption = (c, text, y) => ({
  text, x: 0, xref: "paper", xanchor: "left", y, yref: "paper", yanchor: "bottom", showarrow: false, font: { color: c.text, size: 12 },
});

// An axis of whole numbers; few of them would get ticks between them.
const counts = (c, numbers, more) => axis(c, { tickformat: "~s", ...(Math.max(...numbers) < 4 ? { dtick: 1 } : {}), ...more });

// Plotly would count its ticks from the first bar on, which may be shorter than the others.
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, ...[1, 2, 7, 14, 30, 90, 365].map((days) => days * 1440)];

function timeAxis(c, window, more) {
  const [from, to, most] = [window.starts[0], epoch(window.until), NARROW.matches ? 4 : 8];
  const least = (to - from) / 60 / most; // minutes between two ticks
  const minutes = TICKS.find((n) => n >= least) ?? least;
  return {
    type: "date", range: [time(from), time(to)], tick0: time(0), dtick: minutes * 60_000,
    gridcolor: "rgba(0,0,0,0)", linecolor: c.line, tickcolor: c.line, tickangle: 0,
    hoverformat: window.step < 86400 ? "%e %b %H:%M UTC" : "%e %b %Y",
    showspikes: true, spikemode: "across", spikethickness: 1, spikedash: "solid", spikecolor: c.muted, spikesnap: "cursor",
    ...more,
  };
}

// Bars stand over the whole of their step, of which the first and the last one may be shorter or longer.
const bars = (window, y, more) => ({
  type: "bar", x: window.starts.map(time), y,
  width: window.lengths.map((seconds) => seconds * 930), offset: window.lengths.map((seconds) => seconds * 35), ...more,
});

// Counts of each step as bars: how many a second, minute or hour.
const perSecond = (window, numbers) => numbers.map((n, step) => n / window.lengths[step]);

const ERRORS = (unit) => `%{customdata:,} errors (%{y:,.3~r} ${unit})<extra></extra>`;

function top({ top }, c, element) {
  if (!top.length) return null;
  const rows = top.toReversed();
  const most = element.clientWidth < 500 ? 16 : 32;
  const label = (name) => plain(shortened(element.clientWidth < 500 ? name.slice(name.lastIndexOf(".") + 1) || name : name, most));
  return {
    traces: [{
      type: "bar", orientation: "h", x: rows.map((row) => row.total_execution_time), y: rows.map((_, index) => index),
      marker: { color: c.calls }, customdata: rows.map((row) => row.func_name),
      text: rows.map((row) => `${longDuration(row.total_execution_time)}  ${Number(((row.share ?? 0) * 100).toPrecision(2))} %`),
      textposition: "outside", cliponaxis: false, textfont: { color: c.text },
      hovertext: rows.map((row) => plain(shortened(row.func_name, 80))), hoverinfo: "text",
    }],
    layout: {
      dragmode: false, bargap: 0.32, margin: { l: most * 6.8, r: 92, t: 2, b: 4 },
      xaxis: { visible: false, fixedrange: true, rangemode: "tozero" },
      yaxis: axis(c, {
        tickvals: rows.map((_, index) => index), ticktext: rows.map((row) => label(row.func_name)),
        rangemode: "normal", range: [rows.length - 10.5, rows.length - 0.5], showgrid: false, zeroline: false, showline: false, ticks: "",
        tickfont: { color: c.text },
      }),
    },
    opens: true,
  };
}

function calls({ window, by_step }, c) {
  const { y, unit } = rates(perSecond(window, by_step.call_count));
  const failed = rates(perSecond(window, by_step.error_count));
  return {
    traces: [
      bars(window, y, {
        name: "calls", marker: { color: c.calls }, hovertemplate: `%{y:,.3~r} calls ${unit}<extra></extra>`,
      }),
      bars(window, failed.y, {
        name: "errors", yaxis: "y2", marker: { color: c.failed }, customdata: by_step.error_count, hovertemplate: ERRORS(failed.unit),
      }),
    ],
    layout: {
      hovermode: "x unified", xaxis: timeAxis(c, window, { anchor: "y2" }),
      margin: { l: 44, r: 8, t: 22, b: 26 },
      yaxis: axis(c, { domain: [0.42, 1], tickformat: ",.3~r" }),
      yaxis2: axis(c, { domain: [0, 0.27], tickformat: ",.3~r", nticks: 3 }),
      annotations: [caption(c, `Calls ${unit}`, 1), caption(c, `Errors ${failed.unit}`, 0.28)],
    },
    zooms: true,
  };
}

function functionOverTime({ window, points, heatmap, percentiles, lines }, c) {
  if (!points.length) return null;
  const at = new Map(points.map((point) => [epoch(point.start), point]));
  const series = (field) => window.starts.map((start) => at.get(start)?.[field] ?? null);
  const x = window.starts.map((start, step) => time(start + window.lengths[step] / 2));
  const line = (name, index) => ({
    type: "scatter", mode: points.length > 1 ? "lines+markers" : "markers", marker: { size: points.length > 5 ? 3.5 : 7 }, name, uid: name, x, y: series(name), yaxis: "y3",
    line: { color: c[lines[name]], width: 1.8, dash: index === percentiles.length - 1 ? "dot" : "solid" }, connectgaps: false,
    hovertemplate: `${name} %{customdata}<extra></extra>`, customdata: series(name).map((s) => (s === null ? "" : duration(s))),
    showlegend: true, legend: "legend",
  });
  const { y, unit } = rates(series("calls_per_second").map((n) => n ?? 0));
  const errors = series("error_count").map((n) => n ?? 0);
  const failed = rates(perSecond(window, errors));
  const bounds = heatmap.bounds.map((bound, index) => bound || heatmap.bounds[index + 1] / 1.4 || 1e-9);
  const z = heatmap.counts[0]?.map((_, row) => heatmap.counts.map((column) => column[row])) ?? [];
  return {
    traces: [
      bars(window, y, {
        name: "calls", showlegend: false, marker: { color: c.calls }, hovertemplate: `%{y:,.3~r} calls ${unit}<extra></extra>`,
      }),
      bars(window, failed.y, {
        name: "errors", showlegend: false, yaxis: "y2", marker: { color: c.failed }, customdata: errors, hovertemplate: ERRORS(failed.unit),
      }),
      ...percentiles.map(line),
      {
        type: "heatmap", yaxis: "y4", x: [...window.starts, epoch(window.until)].map(time), y: bounds,
        z: z.map((row) => row.map((n) => (n ? Math.log(n + 1) : null))), showscale: false,
        xgap: 0.5, ygap: 0.5, zmin: 0, colorscale: [[0, c.few], [1, c.many]],
        text: z.map((row, index) => row.map((n) => `${n.toLocaleString("en")} calls took ${duration(bounds[index])} to ${duration(bounds[index + 1])}`)),
        hovertemplate: "%{text}<extra></extra>", hoverongaps: false,
      },
    ],
    layout: {
      hovermode: "x", hoversubplots: "axis", margin: { l: 56, r: 10, t: 22, b: 26 },
      xaxis: timeAxis(c, window, { anchor: "y4" }),
      yaxis: axis(c, { domain: [0.83, 1], tickformat: ",.3~r", nticks: 4 }),
      yaxis2: axis(c, { domain: [0.67, 0.77], tickformat: ",.3~r", nticks: 3 }),
      yaxis3: axis(c, { domain: [0.36, 0.61], tickformat: "~s", ticksuffix: "s" }),
      yaxis4: axis(c, { domain: [0, 0.3], type: "log", rangemode: "normal", ...timeTicks(bounds[0], bounds.at(-1)) }),
      annotations: [
        caption(c, `Calls ${unit}`, 1), caption(c, `Errors ${failed.unit}`, 0.775), caption(c, NARROW.matches ? "" : "Percentiles", 0.615),
        caption(c, "Latency heatmap", 0.305),
      ],
      showlegend: true, legend: { ...legend(c), y: 0.61 },
    },
    zooms: true,
  };
}

// Round times between two, for an axis that shows their logarithm.
function timeTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const digit of [1, 2, 5]) ticks.push(Number(`${digit}e${power}`));
  }
  const within = ticks.filter((tick) => tick >= low && tick <= high);
  const decades = within.filter((tick) => Number.isInteger(Math.log10(tick)));
  const tickvals = within.length > (NARROW.matches ? 5 : 7) ? decades : within;
  return { tickvals, ticktext: tickvals.map(duration) };
}

function distribution({ distribution: { bounds, counts: calls }, totals, percentiles }, c) {
  if (!calls.length) return null;
  const low = bounds[0] || bounds[1] / 1.1 || 1e-9;
  const high = bounds.at(-1) || 1e-8;
  const place = (seconds) => (Math.log(Math.max(seconds, low) / low) / Math.log(high / low)) * calls.length - 0.5;
  const { tickvals, ticktext } = timeTicks(low, high);
  const marks = percentiles.filter((name) => totals[name] !== null);
  return {
    traces: [{
      type: "bar", x: calls.map((_, index) => index), y: calls, marker: { color: c.calls },
      hovertext: calls.map((n, index) => `${n.toLocaleString("en")} calls took ${duration(bounds[index])} to ${duration(bounds[index + 1])}`), hoverinfo: "text",
    }],
    layout: {
      dragmode: false, bargap: 0.06, margin: { l: 44, r: 22, t: 34, b: 26 },
      xaxis: axis(c, { tickvals: tickvals.map(place), ticktext, tickangle: 0, showgrid: false, zeroline: false, rangemode: "normal", range: [-0.6, calls.length - 0.4] }),
      yaxis: counts(c, calls, {}),
      shapes: marks.map((name) => ({ type: "line", x0: place(totals[name]), x1: place(totals[name]), y0: 0, y1: 1, yref: "paper", line: { color: c.text, width: 1.2, dash: "dot" } })),
      annotations: marks.map((name, index) => ({ x: place(totals[name]), y: 1, yref: "paper", yanchor: "bottom", yshift: index % 2 ? 12 : -2, text: name, showarrow: false, font: { color: c.text, size: 11.5 } })),
    },
  };
}

// A type of error has the colour that its name stands for, or else the next free one: whatever becomes of the counts.
const typeColours = new Map();
function colourTypes(names) {
  for (const name of typeColours.keys()) if (!names.includes(name)) typeColours.delete(name);
  for (const name of names.filter((one) => !typeColours.has(one)).sort()) {
    const own = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 9973, 0);
    const order = OF_TYPES.map((_, index) => OF_TYPES[(own + index) % OF_TYPES.length]);
    typeColours.set(name, order.find((colour) => ![...typeColours.values()].includes(colour)));
  }
}

function errors({ window, types, other_types: others }, c, element) {
  if (!types.length) return null;
  colourTypes(types.map((one) => one.error_type));
  const all = types.map((one) => ({ ...one, uid: `type ${one.error_type}`, colour: c[typeColours.get(one.error_type)] }));
  if (others.type_count) all.push({ ...others, uid: "others", error_type: `${others.type_count} other type${others.type_count === 1 ? "" : "s"}`, colour: c.other });
  for (const one of all) one.name = plain(shortened(one.error_type, 40));
  // A legend that does not fit into one line stands below the chart, a line for each, and that is so much higher.
  const below = all.reduce((sum, { name }) => sum + 40 + 6.6 * name.length, 44) > element.clientWidth;
  const lines = 19 * all.length;
  const height = below ? 240 + lines : 230;
  element.style.height = `${height}px`;
  const highest = window.starts.map((_, step) => all.reduce((sum, one) => sum + one.counts[step], 0));
  const { unit, scale } = rates(perSecond(window, highest));
  return {
    traces: all.map((one) => bars(window, perSecond(window, one.counts).map((n) => n * scale), {
      name: one.name, uid: one.uid, marker: { color: one.colour }, customdata: one.counts,
      hovertemplate: `%{customdata:,} ${one.name} (%{y:,.3~r} ${unit})<extra></extra>`,
    })),
    layout: {
      height, barmode: "stack", hovermode: "x unified", xaxis: timeAxis(c, window),
      yaxis: axis(c, { tickformat: ",.3~r" }), annotations: [caption(c, `Errors ${unit}`, 1)],
      showlegend: true,
      ...(below
        ? { legend: { ...legend(c), x: 0, xanchor: "left", y: 0, yref: "container" }, margin: { l: 44, r: 8, t: 22, b: 48 + lines } }
        : { legend: { ...legend(c), x: 0, xanchor: "left", y: 1.12 }, margin: { l: 44, r: 8, t: 48, b: 26 } }),
    },
    zooms: true,
  };
}

// The column of trends: one chart behind the table, in which each row of the table has its own strip.
function sparklines({ window, rows }, c, element) {
  const cells = [...element.parentElement.querySelectorAll("tbody td.trend")];
  const area = element.parentElement.getBoundingClientRect();
  const [first, last] = [cells[0]?.getBoundingClientRect(), cells.at(-1)?.getBoundingClientRect()];
  element.hidden = !first?.width || rows.length !== cells.length; // nothing found, or no room for the column
  if (element.hidden) return undefined;
  Object.assign(element.style, {
    left: `${first.left - area.left + element.parentElement.scrollLeft + 8}px`, top: `${first.top - area.top}px`,
    width: `${first.width - 16}px`, height: `${last.bottom - first.top}px`,
  });
  const line = { x: [], y: [] };
  const fill = { x: [], y: [] };
  cells.forEach((cell, index) => {
    const box = cell.getBoundingClientRect();
    const [ground, height] = [box.bottom - first.top - 11, box.height - 22];
    const trend = perSecond(window, rows[index]);
    const most = Math.max(...trend) || 1;
    const xs = trend.map((_, step) => step / Math.max(1, trend.length - 1));
    const ys = trend.map((n) => ground - (n / most) * height);
    line.x.push(...xs, null);
    line.y.push(...ys, null);
    fill.x.push(0, ...xs, 1, 0, null);
    fill.y.push(ground, ...ys, ground, ground, null);
  });
  const colour = document.body.dataset.view === "errors" ? c.failed : c.calls;
  return {
    traces: [
      { ...fill, type: "scatter", mode: "lines", fill: "toself", line: { width: 0 }, fillcolor: faint(colour, 0.18), hoverinfo: "skip" },
      { ...line, type: "scatter", mode: "lines", line: { width: 1.4, color: colour }, hoverinfo: "skip" },
    ],
    layout: {
      margin: { l: 0, r: 0, t: 0, b: 0 }, dragmode: false, hovermode: false,
      xaxis: { visible: false, fixedrange: true, range: [-0.01, 1.01] },
      yaxis: { visible: false, fixedrange: true, range: [last.bottom - first.top, 0] },
    },
    still: true,
  };
}

const CHARTS = { top, calls, function: functionOverTime, distribution, errors, sparklines };

function zoomed(element, change) {
  let [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
  if (from === undefined) return;
  const { window } = pageData();
  const moment = (text) => epoch(`${String(text).replace(" ", "T")}Z`.replace("ZZ", "Z"));
  from = Math.floor(Math.max(moment(from), window.starts[0]) / 60) * 60;
  to = Math.ceil(Math.min(moment(to), epoch(window.until)) / 60) * 60;
  const text = (at) => `${time(at).slice(0, 16)}Z`;
  element.dispatchEvent(new CustomEvent("zoom", { bubbles: true, detail: { since: text(from), until: text(Math.max(to, from + 60)) } }));
}

// What the page has for the charts; steps begin at seconds, to reckon with.
function pageData() {
  const values = JSON.parse(document.getElementById("data").textContent);
  const { starts, until } = values.window;
  values.window.starts = starts.map(epoch);
  values.window.lengths = starts.map((start, step) => epoch(starts[step + 1] ?? until) - epoch(start));
  values.lines = Object.fromEntries(values.percentiles?.map(({ name }, index) => [name, SERIES[index]]) ?? []); // the same ones however many are shown
  values.percentiles = values.percentiles?.filter(({ spare }) => !(spare && NARROW.matches)).map(({ name }) => name);
  return values;
}

export async function draw() {
  if (!document.getElementById("data") || !globalThis.Plotly) return;
  const values = pageData();
  const c = colours();
  for (const element of document.querySelectorAll("[data-chart]")) {
    const chart = CHARTS[element.dataset.chart](values, c, element);
    if (chart === undefined) continue;
    if (chart === null) {
      if (element._fullLayout) Plotly.purge(element);
      element.innerHTML = '<p class="nothing">Nothing in this window</p>';
      continue;
    }
    if (!element._fullLayout) element.replaceChildren();
    const first = !element._fullLayout;
    await Plotly.react(element, chart.traces, layout(c, chart.layout), { ...CONFIG, staticPlot: Boolean(chart.still) });
    if (first && chart.zooms) element.on("plotly_relayout", (change) => zoomed(element, change));
    if (first && chart.opens) {
      element.on("plotly_click", ({ points }) => {
        const url = new URL(element.dataset.function, location.href);
        url.searchParams.set("name", points[0].customdata);
        location.assign(url);
      });
    }
  }
}

let settling;
addEventListener("resize", () => {
  clearTimeout(settling);
  settling = setTimeout(draw, 150);
});
