
/*
 * What the page does with its data. Texts of the data reach the document as text only: there is no place where one is
 * taken for markup. A figure that is not known is shown as such, and is in no sum.
 */
"use strict";
(() => {
const D = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);
const state = { from: 0, to: D.coarse.names.length - 1, account: -1, user: -1, reason: -1 };
const KINDS = ["account", "user", "reason"];
const UNKNOWN = "unknown";

/* --- the document --- */

function add(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
        if (key === "text") node.textContent = value;
        else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
        else if (value !== null && value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...(children || []));
    return node;
}
const el = (tag, attributes, ...children) => add(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) => add(document.createElementNS(SVG, tag), attributes, children);
const label = (x, y, text, anchor, kind) => draw("text", { x, y, "text-anchor": anchor || "start", class: kind || null, text });

/* --- numbers for people --- */

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const known = (x) => typeof x === "number" && Number.isFinite(x);
function count(x) { return known(x) ? plain.format(x) : UNKNOWN; }
function hours(x) {
    if (!known(x)) return UNKNOWN;
    return new Intl.NumberFormat("en", { maximumFractionDigits: x >= 100 ? 0 : x >= 10 ? 1 : 2 }).format(x);
}
function short(x) {
    if (x >= 1e9) return +(x / 1e9).toPrecision(3) + "G";
    if (x >= 1e6) return +(x / 1e6).toPrecision(3) + "M";
    if (x >= 1e4) return +(x / 1e3).toPrecision(3) + "k";
    return String(+x.toPrecision(3));
}
function share(x) { return known(x) ? (100 * x).toFixed(1) + " %" : UNKNOWN; }
function money(x) {
    return known(x) ? new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(x) : UNKNOWN;
}
function bytes(x) {
    if (!known(x)) return UNKNOWN;
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let i = 0;
    for (; x >= 1024 && i < units.length - 1; i++) x /= 1024;
    return +x.toPrecision(3) + " " + units[i];
}
function time(s) {
    if (!known(s)) return UNKNOWN;
    if (s >= 60) s = Math.round(s);
    const two = (x) => String(Math.floor(x)).padStart(2, "0");
    if (s < 60) return +s.toPrecision(3) + " s";
    if (s < 3600) return Math.floor(s / 60) + "m" + two(s % 60) + "s";
    if (s < 86400) return Math.floor(s / 3600) + "h" + two((s % 3600) / 60) + "m";
    return Math.floor(s / 86400) + "d" + two((s % 86400) / 3600) + "h";
}
function jobs(n) { return count(n) + (n === 1 ? " job" : " jobs"); }

const MISSING = { account: "no account", user: "no user", reason: "no reason" };
function nameOf(kind, i) {
    const list = D[kind];
    if (i >= list.length) return count(D[kind + "_others"]) + " others";
    return list[i] === null ? "(" + MISSING[kind] + ")" : list[i];
}
const places = (kind) => D[kind].length + (D[kind + "_others"] > 0 ? 1 : 0);
/* The last of ten colours is that of all others together. */
const colour = (account) => (account < D.account.length ? account % 9 : 9);
function span(i) { return D.coarse.names[i]; }

/* --- sums of the cells that pass --- */

const CELLS = D.jobs_of.length;
const FIGURES = ["core_hours", "used", "cpu", "mem", "wait", "cost"];
const missing = FIGURES.map(() => new Map());
for (let i = 0; i < D.unknown.length; i += 3) missing[D.unknown[i + 1]].set(D.unknown[i], D.unknown[i + 2]);
function offsets(filled) {
    const at = new Uint32Array(filled.length + 1);
    for (let i = 0; i < filled.length; i++) at[i + 1] = at[i] + filled[i];
    return at;
}
const effAt = offsets(D.eff_filled);
const waitAt = offsets(D.wait_filled);

function newSum() {
    return { jobs: 0, completed: 0, core_hours: 0, used: 0, cpu: 0, cpu_of: 0, mem: 0, mem_of: 0, wait: 0, cost: 0, unknown: [0, 0, 0, 0, 0, 0] };
}
const COMPLETED = D.reason.indexOf("completed");
function addCell(sum, i) {
    const n = D.jobs_of[i];
    sum.jobs += n;
    if (D.reason_of[i] === COMPLETED) sum.completed += n;
    for (const f of ["core_hours", "used", "cpu", "cpu_of", "mem", "mem_of", "wait"]) sum[f] += D[f][i];
    if (D.cost) sum.cost += D.cost[i];
    for (let f = 0; f < FIGURES.length; f++) sum.unknown[f] += missing[f].get(i) || 0;
}
/* A sum of which no job has the figure is unknown, not 0. */
function figure(sum, f) {
    const k = sum.jobs - sum.unknown[FIGURES.indexOf(f)];
    if (k <= 0) return null;
    if (f === "cpu" || f === "mem") return sum[f + "_of"] > 0 ? sum[f] / sum[f + "_of"] : null;
    return f === "wait" ? sum.wait / k : sum[f];
}

function passes(step, account, user, reason) {
    return step >= state.from && step <= state.to && (state.account < 0 || account === state.account) &&
        (state.user < 0 || user === state.user) && (state.reason < 0 || reason === state.reason);
}

function collect() {
    const all = { sum: newSum(), users: new Map(), reasons: new Map(), accounts: new Map(), steps: new Map(), eff: new Array(20).fill(0), wait: new Array(8).fill(0) };
    const into = (map, key, i) => {
        if (!map.has(key)) map.set(key, newSum());
        addCell(map.get(key), i);
    };
    for (let i = 0; i < CELLS; i++) {
        if (!passes(D.step_of[i], D.account_of[i], D.user_of[i], D.reason_of[i])) continue;
        addCell(all.sum, i);
        into(all.users, D.user_of[i], i);
        into(all.reasons, D.reason_of[i], i);
        into(all.accounts, D.account_of[i], i);
        const key = D.account_of[i] * 1000 + D.step_of[i];
        all.steps.set(key, (all.steps.get(key) || 0) + D.core_hours[i]);
        for (let k = effAt[i]; k < effAt[i + 1]; k++) all.eff[D.eff_bins[k] % 20] += Math.floor(D.eff_bins[k] / 20);
        for (let k = waitAt[i]; k < waitAt[i + 1]; k++) all.wait[D.wait_bins[k] % 8] += Math.floor(D.wait_bins[k] / 8);
    }
    return all;
}

/* Core-hours by account and step: fine ones, but of a single user only the steps of the cells are known. */
function timeline(all) {
    const fine = state.user < 0;
    const steps = [];
    const names = fine ? D.fine.names : D.coarse.names;
    names.forEach((name, i) => {
        const coarse = fine ? D.coarse_of[i] : i;
        if (coarse >= state.from && coarse <= state.to) steps.push(i);
    });
    const first = steps.length ? steps[0] : 0;
    const lines = new Map();
    const line = (account) => {
        if (!lines.has(account)) lines.set(account, new Array(steps.length).fill(0));
        return lines.get(account);
    };
    if (fine) {
        for (const run of D.series) {
            if ((state.account >= 0 && run[0] !== state.account) || (state.reason >= 0 && run[1] !== state.reason)) continue;
            for (let i = 2, at = 0; i < run.length; i += 2) {
                at += run[i];
                if (at >= first && at < first + steps.length) line(run[0])[at - first] += run[i + 1];
            }
        }
    } else {
        for (const [key, value] of all.steps) line(Math.floor(key / 1000))[(key % 1000) - first] += value;
    }
    return { names: steps.map((i) => names[i]), lines: [...lines].sort((a, b) => a[0] - b[0]), span: fine ? D.fine.span : D.coarse.span };
}

/* --- what all charts share --- */

const tip = byId("tip");
function showTip(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 8)) + "px";
    tip.style.top = Math.max(4, y + 16 + box.height > innerHeight ? y - box.height - 12 : y + 16) + "px";
}

function card(id, title, what, size) {
    const plot = el("div", { class: "plot", tabindex: "0", role: "group", "aria-labelledby": "t-" + id, "aria-describedby": "w-" + id });
    const parts = {
        id, plot, marks: [], at: -1,
        what: el("p", { class: "what", id: "w-" + id, text: what }),
        read: el("p", { class: "read", "aria-live": "polite" }),
        note: el("p", { class: "note" }),
        legend: el("ul", { class: "legend" }),
        table: el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title + ": table" }),
    };
    byId("charts").append(el("figure", { class: "card " + (size || ""), id },
        el("figcaption", {}, el("h2", { id: "t-" + id, text: title })), parts.what, plot, parts.legend, parts.read, parts.note,
        el("details", { ontoggle: (e) => {
            parts.open = e.target.open;
            fill(parts, parts.rows);
        } }, el("summary", { text: "The same as a table" }), parts.table)));
    plot.addEventListener("pointermove", (e) => pointed(parts, e));
    plot.addEventListener("pointerleave", () => choose(parts, -1));
    plot.addEventListener("blur", () => choose(parts, -1));
    plot.addEventListener("keydown", (e) => keyed(parts, e));
    return parts;
}

/* The table of a chart is made when somebody opens it. */
function fill(chart, make) {
    chart.rows = make;
    chart.table.replaceChildren(...(chart.open ? [make()] : []));
}

/* A mark is what can be pointed at, or reached by the arrow keys: where it is, and what it says. */
function choose(chart, i, x, y) {
    chart.at = i;
    const mark = chart.marks[i];
    if (chart.cursor) chart.cursor.remove();
    chart.cursor = null;
    if (!mark) {
        tip.hidden = true;
        return;
    }
    const svg = chart.plot.querySelector("svg");
    chart.cursor = mark.r ? draw("circle", { class: "mark", cx: mark.x, cy: mark.y, r: mark.r + 2 })
        : draw("rect", { class: "mark", x: mark.x, y: mark.y, width: mark.w, height: mark.h });
    svg.append(chart.cursor);
    const box = svg.getBoundingClientRect();
    const k = box.width / svg.viewBox.baseVal.width;
    showTip(mark.text, x === undefined ? box.left + (mark.x + (mark.w || 0) / 2) * k : x, y === undefined ? box.top + mark.y * k : y);
}
function pointed(chart, e) {
    const svg = chart.plot.querySelector("svg");
    if (!svg || !chart.marks.length) return;
    const box = svg.getBoundingClientRect();
    const k = svg.viewBox.baseVal.width / box.width;
    const x = (e.clientX - box.left) * k;
    const y = (e.clientY - box.top) * k;
    let best = -1;
    let least = 144;
    chart.marks.forEach((m, i) => {
        const d = m.r ? (m.x - x) ** 2 + (m.y - y) ** 2 : x >= m.x && x < m.x + m.w && y >= m.y && y < m.y + m.h ? 0 : 1e9;
        if (d < least) {
            least = d;
            best = i;
        }
    });
    choose(chart, best, e.clientX, e.clientY);
}
function keyed(chart, e) {
    const n = chart.marks.length;
    const moves = { ArrowRight: 1, ArrowDown: chart.down || 1, ArrowLeft: -1, ArrowUp: -(chart.down || 1), Home: -n, End: n };
    if (e.key === "Escape") choose(chart, -1);
    if (!(e.key in moves) || !n) return;
    e.preventDefault();
    choose(chart, chart.at < 0 && moves[e.key] > 0 && e.key !== "End" ? 0 : Math.max(0, Math.min(n - 1, chart.at + moves[e.key])));
    chart.read.textContent = chart.marks[chart.at].text.replaceAll("\n", ", ");
}

function begin(chart, height, summary) {
    const width = Math.max(280, Math.round(chart.plot.clientWidth || 600));
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": summary });
    choose(chart, -1);
    chart.marks = [];
    chart.plot.replaceChildren(svg);
    chart.read.textContent = "";
    return { svg, width, height };
}
function nothing(chart, text) {
    const { svg, width } = begin(chart, 120, text);
    svg.append(label(width / 2, 64, text, "middle", "none"));
    fill(chart, () => el("p", { text }));
}
function ticks(most) {
    const raw = most / 4 || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].find((m) => m * power >= raw) * power;
    const list = [];
    for (let v = 0; v < most + step * 0.999; v += step) list.push(v);
    return list;
}
/* The axis of values, at the left. Returns the scale. */
function upright(svg, width, left, top, bottom, most) {
    const list = ticks(most);
    const y = (v) => bottom - ((bottom - top) * v) / (list[list.length - 1] || 1);
    for (const v of list) {
        svg.append(draw("line", { class: v ? "grid" : "axis", x1: left, x2: width, y1: y(v), y2: y(v) }), label(left - 7, y(v) + 4, short(v), "end"));
    }
    return y;
}
function table(head, rows) {
    return el("table", {}, el("thead", {}, el("tr", {}, ...head.map((text, i) => el("th", { scope: "col", class: i ? "number" : null, text })))),
        el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((text, i) => (i ? el("td", { class: "number", text }) : el("th", { scope: "row", text })))))));
}

/* --- the charts --- */

function drawTime(chart, all) {
    const { names, lines, span: unit } = timeline(all);
    const sums = names.map((_, i) => lines.reduce((s, [, line]) => s + line[i], 0));
    const most = Math.max(0, ...sums);
    chart.what.textContent = `Core-hours granted in each ${unit}, by account; a job counts when it ends.`;
    chart.note.textContent = state.user < 0 || D.fine.span === D.coarse.span ? "" : `Of a single user the page knows core-hours by ${unit} only.`;
    drawLegend(chart, lines.map(([account]) => account));
    if (!(most > 0)) {
        nothing(chart, "No core-hours");
        return;
    }
    const peak = sums.indexOf(most);
    const { svg, width, height } = begin(chart, 270, `Core-hours over time: ${hours(sums.reduce((a, b) => a + b, 0))} in all; most in ${names[peak]}: ${hours(most)}`);
    const [left, bottom] = [52, height - 26];
    const y = upright(svg, width, left, 10, bottom, most);
    const w = (width - left) / names.length;
    const gap = w > 5 ? Math.min(w * 0.18, 6) : 0;
    const base = new Array(names.length).fill(0);
    for (const [account, line] of lines) {
        let path = "";
        line.forEach((v, i) => {
            if (v > 0) path += `M${(left + i * w + gap / 2).toFixed(2)} ${y(base[i]).toFixed(2)}h${(w - gap).toFixed(2)}V${y(base[i] + v).toFixed(2)}h${(gap - w).toFixed(2)}z`;
            base[i] += v;
        });
        svg.append(draw("path", { class: "c" + colour(account), d: path }));
    }
    const every = Math.max(1, Math.ceil((names.length * 86) / (width - left)));
    names.forEach((name, i) => {
        if (i % every === 0 && (left + (i + 0.5) * w < width - 34 || i === 0)) svg.append(label(left + (i + 0.5) * w, height - 8, name.replace(/[+-]\d{4}$/, "").replace(/^\d{4}-(\d\d-\d\d )/, "$1"), "middle"));
        const parts = lines.filter(([, line]) => line[i] > 0).sort((a, b) => b[1][i] - a[1][i]);
        chart.marks.push({ x: left + i * w, y: 10, w, h: bottom - 10,
            text: `${name}: ${hours(sums[i])} core-hours` + parts.slice(0, 6).map(([account, line]) => `\n${nameOf("account", account)}: ${hours(line[i])}`).join("") });
    });
    fill(chart, () => table([unit, ...lines.map(([account]) => nameOf("account", account)), "all"],
        names.map((name, i) => [name, ...lines.map(([, line]) => hours(line[i])), hours(sums[i])])));
}

/* The accounts, each a button that filters by it. */
function drawLegend(chart, shown) {
    const list = state.account < 0 ? shown : [...new Set([...shown, state.account])];
    const had = chart.legend.contains(document.activeElement) ? document.activeElement.dataset.account : null;
    chart.legend.replaceChildren(...list.map((account) => el("li", {}, el("button", {
        type: "button", "data-account": account, "aria-pressed": String(state.account === account), title: "Only this account, or all again",
        onclick: () => set({ account: state.account === account ? -1 : account }),
    }, draw("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, draw("rect", { class: "c" + colour(account), width: 10, height: 10, rx: 3 })),
    document.createTextNode(nameOf("account", account))))));
    if (had !== null) chart.legend.querySelector(`[data-account="${Number(had)}"]`)?.focus();
}

function drawBars(chart, names, values, unit, short_names) {
    const sum = values.reduce((a, b) => a + b, 0);
    if (!sum) {
        nothing(chart, "No job has this figure");
        return;
    }
    const top = values.indexOf(Math.max(...values));
    const { svg, width, height } = begin(chart, 200, `${unit}: ${jobs(sum)}; most, ${share(values[top] / sum)}, are ${names[top]}`);
    const [left, bottom] = [44, height - 26];
    const y = upright(svg, width, left, 8, bottom, values[top]);
    const w = (width - left) / values.length;
    values.forEach((v, i) => {
        if (v > 0) svg.append(draw("rect", { class: "bar", x: left + i * w + w * 0.09, y: Math.min(y(v), bottom - 1), width: w * 0.82, height: Math.max(bottom - y(v), 1), rx: Math.min(2, w / 6) }));
        if (short_names[i]) svg.append(label(left + (i + 0.5) * w, height - 8, short_names[i], "middle"));
        chart.marks.push({ x: left + i * w, y: 8, w, h: bottom - 8, text: `${names[i]}: ${jobs(v)} (${share(v / sum)})` });
    });
    fill(chart, () => table([unit, "jobs", "share"], values.map((v, i) => [names[i], count(v), share(v / sum)])));
}

function drawEff(chart, all) {
    const names = all.eff.map((_, i) => `${i * 5} to ${i * 5 + 5} %`);
    names[19] = "95 % and more";
    const n = all.sum.unknown[2];
    chart.note.textContent = n ? `${jobs(n)} left out: not known, or shorter than 50 ms.` : "";
    drawBars(chart, names, all.eff, "CPU efficiency", names.map((_, i) => (i % 4 === 0 ? i * 5 + " %" : i === 19 ? "95+" : "")));
}
function drawWait(chart, all) {
    const names = ["less than 1 s", "1 to 10 s", "10 s to 1 min", "1 to 10 min", "10 min to 1 h", "1 to 6 h", "6 h to 1 day", "a day and more"];
    const n = all.sum.unknown[4];
    chart.note.textContent = n ? `${jobs(n)} left out: not known.` : "";
    drawBars(chart, names, all.wait, "wait", ["<1s", "10s", "1m", "10m", "1h", "6h", "1d", ">1d"]);
}

function drawReasons(chart, all) {
    const rows = [...all.reasons].map(([i, s]) => [nameOf("reason", i), s.jobs, i]).sort((a, b) => b[1] - a[1]);
    if (!rows.length) {
        nothing(chart, "No jobs");
        return;
    }
    const height = 8 + rows.length * 22;
    const { svg, width } = begin(chart, Math.max(height, 120), "End reasons: " + rows.map((r) => `${r[0]} ${share(r[1] / all.sum.jobs)}`).join(", "));
    const left = 112;
    const most = rows[0][1];
    rows.forEach(([name, n, i], k) => {
        const y = 4 + k * 22;
        const w = Math.max(2, ((width - left - 92) * n) / most);
        svg.append(label(left - 8, y + 14, name.length > 17 ? name.slice(0, 16) + "…" : name, "end", "strong"),
            draw("rect", { class: i === COMPLETED ? "c2" : "c3", x: left, y: y + 3, width: w, height: 14, rx: 2 }),
            label(left + w + 6, y + 14, `${count(n)} (${share(n / all.sum.jobs)})`));
        chart.marks.push({ x: 0, y, w: width, h: 22, text: `${name}: ${jobs(n)} (${share(n / all.sum.jobs)})` });
    });
    fill(chart, () => table(["reason", "jobs", "share", "core-hours"],
        rows.map(([name, n, i]) => [name, count(n), share(n / all.sum.jobs), hours(figure(all.reasons.get(i), "core_hours"))])));
}

function drawMemory(chart) {
    const list = D.sample.filter((p) => passes(p[2], p[3], p[4], p[5]) && p[6] > 0 && p[7] > 0);
    const with_memory = D.jobs - D.no_memory;
    chart.note.textContent = (with_memory > D.sample.length ? `A sample: ${count(D.sample.length)} of ${count(with_memory)} jobs, the same at each time` : `All ${count(with_memory)} jobs`) +
        ` with a limit and a known peak, before filters; ${count(list.length)} are shown. ` + (D.no_memory ? `${jobs(D.no_memory)} have no limit or no known peak.` : "");
    chart.legend.replaceChildren(...[["dot", "jobs"], ["dot bad", "out of memory"]].map(([kind, text]) => el("li", { class: "key" },
        draw("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, draw("circle", { class: kind, cx: 5, cy: 5, r: 4 })), document.createTextNode(text))));
    if (!list.length) {
        nothing(chart, "No job of the sample passes");
        return;
    }
    const log = Math.log2;
    const range = (k) => {
        const all = list.map((p) => log(p[k]));
        const low = Math.floor(Math.min(...all));
        return [low, Math.max(low + 3, Math.ceil(Math.max(...all)))];
    };
    const [x_low, x_high] = range(6);
    const [y_low, y_high] = range(7);
    const half = list.filter((p) => p[7] < p[6] / 2).length;
    const { svg, width, height } = begin(chart, 300, `Memory granted and used by ${jobs(list.length)}: ${share(half / list.length)} used less than half`);
    const [left, bottom, top, pad] = [64, height - 34, 22, 14];
    const x = (e) => left + pad + ((e - x_low) / (x_high - x_low)) * (width - left - 2 * pad);
    const y = (e) => bottom - 4 - ((e - y_low) / (y_high - y_low)) * (bottom - top - 8);
    for (let e = y_low, step = Math.ceil((y_high - y_low) / 8); e <= y_high; e += step)
        svg.append(draw("line", { class: "grid", x1: left, x2: width, y1: y(e), y2: y(e) }), label(left - 7, y(e) + 4, bytes(2 ** e), "end"));
    for (let e = x_low, step = Math.ceil(((x_high - x_low) * 60) / (width - left)); e <= x_high; e += step)
        svg.append(draw("line", { class: "grid", x1: x(e), x2: x(e), y1: top, y2: bottom }), label(x(e), bottom + 15, bytes(2 ** e), "middle"));
    const [from, to] = [Math.max(x_low, y_low), Math.min(x_high, y_high)];
    if (from < to) svg.append(draw("line", { class: "even", x1: x(from), y1: y(from), x2: x(to), y2: y(to) }));
    svg.append(label(width, height - 3, "granted", "end"), label(left, 12, "used at the peak"));
    const oom = D.reason.indexOf("oom");
    svg.classList.toggle("few", list.length < 300);
    const sorted = list.sort((a, b) => (a[5] === oom) - (b[5] === oom));
    for (const p of sorted) {
        svg.append(draw("circle", { class: p[5] === oom ? "dot bad" : "dot", cx: x(log(p[6])).toFixed(1), cy: y(log(p[7])).toFixed(1), r: 2.6 }));
        chart.marks.push({ x: x(log(p[6])), y: y(log(p[7])), r: 2.6, text: `${p[1] === null ? "(no name)" : p[1]}, ${nameOf("user", p[4])}\n${bytes(p[7])} used of ${bytes(p[6])}\n${nameOf("reason", p[5])}\n${p[0]}` });
    }
    const bins = [0.1, 0.25, 0.5, 0.75, 0.9, Infinity];
    const names = ["less than 10 %", "10 to 25 %", "25 to 50 %", "50 to 75 %", "75 to 90 %", "90 % and more"];
    const counts = bins.map(() => 0);
    for (const p of list) counts[bins.findIndex((b) => p[7] / p[6] < b)]++;
    fill(chart, () => table(["used of granted", "jobs of the sample", "share"], counts.map((n, i) => [names[i], count(n), share(n / list.length)])));
}

function drawBusy(chart) {
    /* by account every hour is known; by user, and by account and reason, each hour of the day of longer spans */
    const wide = (state.user >= 0 || state.reason >= 0) && D.wide_rows.names.length > 0;
    const names = (wide ? D.wide_rows : D.busy_rows).names;
    const steps = wide ? D.wide_steps : D.busy_steps;
    const cannot = KINDS.filter((kind) => state[kind] >= 0 && (!wide ? kind !== "account" : state.user >= 0 && kind !== "user"));
    chart.what.textContent = `Cores that boxes held, on average, by ${(wide ? D.wide_rows : D.busy_rows).span} and hour of the day.`;
    chart.note.textContent = [cannot.length ? `Not narrowed by ${cannot.join(" and ")}: the page does not have busy cores by ${wide ? "user and " : ""}${cannot.join(" and ")}.` : "",
        D.busy_unknown ? `${jobs(D.busy_unknown)} left out: no cores, or no start or end is known.` : ""].filter(Boolean).join(" ");
    chart.note.classList.toggle("warn", cannot.length > 0);
    const same = [state.from, state.to, state.account, state.user, state.reason, chart.plot.clientWidth].join();
    if (chart.drawn === same) return;
    chart.drawn = same;
    const rows = [];
    for (let i = 0; i < names.length; i++) if (steps[2 * i + 1] >= state.from && steps[2 * i] <= state.to) rows.push(i);
    const accounts = state.account >= 0 ? [state.account] : D.busy.map((_, a) => a);
    const lists = !wide ? accounts.map((a) => D.busy[a]) : state.user >= 0 ? [D.wide[state.user]]
        : accounts.map((a) => D.wide[places("user") + a * places("reason") + state.reason]);
    const value = (row, hour) => {
        let sum = 0;
        for (const list of lists) {
            const v = list.length ? list[row * 24 + hour] : 0;
            if (v === null) return null;
            sum += v;
        }
        return sum;
    };
    const grid = rows.map((row) => Array.from({ length: 24 }, (_, hour) => value(row, hour)));
    const most = Math.max(0, ...grid.map((line) => Math.max(0, ...line.map((v) => v || 0))));
    if (!(most > 0)) {
        chart.legend.replaceChildren();
        nothing(chart, "No busy cores");
        return;
    }
    let where = [0, 0];
    grid.forEach((line, i) => line.forEach((v, h) => {
        if (v === most) where = [i, h];
    }));
    const { svg, width, height } = begin(chart, 268, `Busy cores by hour: at most ${hours(most)}, ${names[rows[where[0]]]} at ${where[1]} o'clock`);
    const [left, top, bottom] = [52, 4, height - 24];
    const w = (width - left) / rows.length;
    const h = (bottom - top) / 24;
    const paths = new Array(8).fill("");
    chart.down = 1;
    rows.forEach((row, i) => {
        for (let hour = 0; hour < 24; hour++) {
            const v = grid[i][hour];
            const [px, py] = [left + i * w, top + hour * h];
            if (v !== null) paths[v > 0 ? Math.min(7, 1 + Math.floor((v / most) * 6.999)) : 0] += `M${px.toFixed(2)} ${py.toFixed(2)}h${(w - (w > 6 ? 1 : 0) + (w > 6 ? 0 : 0.2)).toFixed(2)}v${(h - 0.6).toFixed(2)}h${(-(w - (w > 6 ? 1 : 0) + (w > 6 ? 0 : 0.2))).toFixed(2)}z`;
            chart.marks.push({ x: px, y: py, w, h, text: `${names[row]}, ${hour}:00\n${v === null ? "no such hour in the report" : hours(v) + " cores"}` });
        }
    });
    paths.forEach((d, i) => svg.append(draw("path", { class: "h" + i, d })));
    for (let hour = 0; hour < 24; hour += 6) svg.append(label(left - 7, top + hour * h + 9, hour + ":00", "end"));
    const every = Math.max(1, Math.ceil((rows.length * 86) / (width - left)));
    rows.forEach((row, i) => {
        if (i % every === 0 && (left + i * w < width - 64 || i === 0)) svg.append(label(left + i * w, height - 7, names[row], "start"));
    });
    chart.legend.replaceChildren(el("li", { class: "key", text: "0" }), ...paths.map((_, i) => el("li", {}, draw("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, draw("rect", { class: "h" + i, width: 10, height: 10, rx: 2 })))),
        el("li", { class: "key", text: hours(most) + " cores" }));
    const by_hour = Array.from({ length: 24 }, (_, hour) => {
        const list = grid.map((line) => line[hour]).filter((v) => v !== null);
        return [hour + ":00", list.length ? hours(list.reduce((a, b) => a + b, 0) / list.length) : UNKNOWN, list.length ? hours(Math.max(...list)) : UNKNOWN];
    });
    fill(chart, () => table(["hour of the day", "average of cores", "most"], by_hour));
}

/* --- tables that can be sorted --- */

const SHOWN = 20;
function sortable(id, title, what, columns, sort) {
    const self = { columns, sort, down: true, all: false, rows: [] };
    const heads = columns.map((c, i) => el("th", { scope: "col", class: c.kind === "text" ? null : "number" }, el("button", {
        type: "button", onclick: () => {
            self.down = self.sort === i ? !self.down : c.kind !== "text";
            self.sort = i;
            show();
        },
    }, document.createTextNode(c.title), el("span", { class: "arrow", "aria-hidden": "true" }))));
    const body = el("tbody");
    const subtitle = el("span", { class: "what", text: what });
    const more = el("button", { type: "button", class: "all", onclick: () => {
        self.all = !self.all;
        show();
    } });
    byId("tables").append(el("section", { class: "card wide table", id, "aria-labelledby": "t-" + id }, el("div", { class: "wider", tabindex: "0", role: "region", "aria-labelledby": "t-" + id },
        el("table", {}, el("caption", {}, el("h2", { id: "t-" + id, text: title }), subtitle), el("thead", {}, el("tr", {}, ...heads)), body)), more));
    /* what is not known comes last, whichever way it goes */
    function order(a, b) {
        const [x, y] = [columns[self.sort].value(a), columns[self.sort].value(b)];
        if ((x === null) !== (y === null)) return x === null ? 1 : -1;
        const d = x === null ? 0 : typeof x === "string" ? x.localeCompare(y, "en") : x - y;
        return self.down ? -d : d;
    }
    function show() {
        heads.forEach((th, i) => {
            th.setAttribute("aria-sort", i === self.sort ? (self.down ? "descending" : "ascending") : "none");
            th.querySelector(".arrow").textContent = i === self.sort ? (self.down ? "▼" : "▲") : "";
        });
        const sorted = [...self.rows].sort(order);
        body.replaceChildren(...sorted.slice(0, self.all ? sorted.length : SHOWN).map((row) => el("tr", {}, ...columns.map((c, i) => {
            const text = c.show ? c.show(c.value(row)) : c.value(row);
            const cell = i === 0 ? el("th", { scope: "row" }) : el("td", { class: c.kind === "text" ? "text " + (c.style || "") : "number", title: c.kind === "text" ? text : null });
            if (c.pick) cell.append(el("button", { type: "button", class: "pick", title: "Only this", text, onclick: () => set(c.pick(row)) }));
            else cell.textContent = text === null ? UNKNOWN : text;
            return cell;
        }))));
        if (!sorted.length) body.append(el("tr", {}, el("td", { class: "empty", colspan: columns.length, text: "Nothing passes the filters" })));
        more.hidden = sorted.length <= SHOWN;
        more.textContent = self.all ? `Only the first ${SHOWN}` : `Show all ${count(sorted.length)}`;
    }
    return { set(rows) {
        self.rows = rows;
        show();
    } };
}

const figureColumn = (title, f, showAs) => ({ title, value: (r) => figure(r.sum, f), show: showAs });
const userTable = sortable("users", "Users", "by core-hours granted", [
    { title: "user", kind: "text", value: (r) => nameOf("user", r.user), pick: (r) => ({ user: r.user }) },
    { title: "jobs", value: (r) => r.sum.jobs, show: count },
    figureColumn("core-hours", "core_hours", hours), figureColumn("used", "used", hours), figureColumn("CPU eff", "cpu", share),
    figureColumn("memory eff", "mem", share), figureColumn("mean wait", "wait", time),
    { title: "not completed", value: (r) => 1 - r.sum.completed / r.sum.jobs, show: share },
    ...(D.cost ? [figureColumn("cost" + (D.currency ? " " + D.currency : ""), "cost", money)] : []),
], 2);
const jobTable = sortable("jobs", "Jobs", `the ${count(D.top.length)} with the most core-hours of the report; filters choose among them`, [
    { title: "name", kind: "text", value: (j) => (j[1] === null ? "(no name)" : j[1]) },
    { title: "id", kind: "text", style: "id", value: (j) => j[0] },
    { title: "user", kind: "text", value: (j) => (j[8] === null ? "(no user)" : j[8]) },
    { title: "account", kind: "text", value: (j) => nameOf("account", j[3]) },
    { title: "end", kind: "text", value: (j) => nameOf("reason", j[5]) },
    { title: "ended", kind: "text", value: (j) => j[9] },
    { title: "core-hours", value: (j) => (known(j[10]) && known(j[11]) ? (j[10] * j[11]) / 3600 : null), show: hours },
    { title: "cores", value: (j) => j[10], show: count }, { title: "wall", value: (j) => j[11], show: time },
    { title: "wait", value: (j) => j[12], show: time }, { title: "CPU eff", value: (j) => j[13], show: share },
    { title: "peak memory", value: (j) => j[7], show: bytes },
], 6);

/* --- summary and filters --- */

function drawTiles(all) {
    const s = all.sum;
    const without = (f) => {
        const n = s.unknown[FIGURES.indexOf(f)];
        return n && s.jobs > n ? `${jobs(n)} without` : "";
    };
    const bad = s.jobs - s.completed;
    const n_users = [...all.users.keys()].reduce((n, i) => n + (i < D.user.length ? 1 : D.user_others), 0);
    const list = [["Jobs", count(s.jobs), `of ${n_users > 1 && state.user < 0 && all.users.has(D.user.length) ? "up to " : ""}${count(n_users)} user${n_users === 1 ? "" : "s"}`],
        ["Core-hours", hours(figure(s, "core_hours")), without("core_hours")],
        ["Core-hours used", hours(figure(s, "used")), without("used")],
        ["CPU efficiency", share(figure(s, "cpu")), without("cpu")],
        ["Memory efficiency", share(figure(s, "mem")), without("mem")],
        ["Mean wait", time(figure(s, "wait")), without("wait")],
        ["Not completed", s.jobs ? share(bad / s.jobs) : UNKNOWN, jobs(bad)]];
    if (D.cost) list.push(["Cost" + (D.currency ? " in " + D.currency : ""), money(figure(s, "cost")), without("cost")]);
    byId("tiles").replaceChildren(...list.map(([name, value, more]) => el("div", { class: "tile" }, el("dt", { text: name }),
        el("dd", {}, el("div", { class: "value", text: value }), el("div", { class: "more", text: more })))));
}

const selects = {};
function select(key, title, options) {
    selects[key] = el("select", { id: "f-" + key, onchange: (e) => set({ [key]: Number(e.target.value) }) }, ...options.map(([value, text]) => el("option", { value, text })));
    return el("label", { for: "f-" + key }, document.createTextNode(title), selects[key]);
}
const reset = el("button", { type: "button", text: "Show all", onclick: () => set({ from: 0, to: D.coarse.names.length - 1, account: -1, user: -1, reason: -1 }) });
function makeFilters() {
    const steps = D.coarse.names.map((name, i) => [i, name]);
    const byName = (kind) => Array.from({ length: places(kind) }, (_, i) => [i, nameOf(kind, i)])
        .sort((a, b) => (a[0] >= D[kind].length) - (b[0] >= D[kind].length) || a[1].localeCompare(b[1], "en", { numeric: true }));
    byId("filters").append(select("from", `From ${D.coarse.span}`, steps), select("to", `To ${D.coarse.span}`, steps),
        ...KINDS.map((kind) => select(kind, kind[0].toUpperCase() + kind.slice(1), [[-1, "all"], ...byName(kind)])), reset);
    byId("filters").addEventListener("submit", (e) => e.preventDefault());
}

function set(change) {
    Object.assign(state, change);
    if ("from" in change && state.to < state.from) state.to = state.from;
    if ("to" in change && state.from > state.to) state.from = state.to;
    show();
}

const charts = [];
function show() {
    const all = collect();
    for (const key of Object.keys(selects)) selects[key].value = String(state[key]);
    const whole = state.from === 0 && state.to === D.coarse.names.length - 1 && KINDS.every((k) => state[k] < 0);
    reset.disabled = whole;
    byId("said").textContent = whole ? `All ${jobs(D.jobs)} are shown.` : `${count(all.sum.jobs)} of ${jobs(D.jobs)} are shown` +
        (state.from > 0 || state.to < D.coarse.names.length - 1 ? `, of ${span(state.from)}${state.to > state.from ? " to " + span(state.to) : ""}` : "") +
        KINDS.filter((k) => state[k] >= 0).map((k) => `, ${k} ${nameOf(k, state[k])}`).join("") + ".";
    drawTiles(all);
    for (const [chart, drawIt] of charts) drawIt(chart, all);
    userTable.set([...all.users].map(([user, sum]) => ({ user, sum })));
    jobTable.set(D.top.filter((j) => passes(j[2], j[3], j[4], j[5])));
}

function makeNotes() {
    const asked = D.asked.length ? "Only records with " + [...new Set(D.asked.map((a) => a[0]))].map((key) => key + " " + D.asked.filter((a) => a[0] === key).map((a) => a[1] || "(none)").join(" or ")).join(", and ") + "." : "";
    const list = ["A figure that a record does not have is in no sum and no mean, and is counted beside it.",
        `A job counts at the time at which it ended. Times are of the zone of the report${D.zone ? " (" + D.zone + ")" : ""}.`,
        "CPU efficiency is CPU time, of CPUs granted times wall time. Memory efficiency is peak memory of the memory granted, weighed by wall time.",
        asked, D.bounds[0] || D.bounds[1] ? `Only jobs that ended ${D.bounds[0] ? "at " + D.bounds[0] + " or later" : ""}${D.bounds[0] && D.bounds[1] ? ", and " : ""}${D.bounds[1] ? "before " + D.bounds[1] : ""}.` : "", D.outside ? `${jobs(D.outside)} left out: before the year 2000, or years ahead. Such times are of clocks that were not set.` : ""].filter(Boolean);
    byId("notes").append(el("h2", { text: "Notes" }), el("ul", {}, ...list.map((text) => el("li", { text }))));
    const [first, last] = D.period;
    byId("period").textContent = !first ? "No jobs" : first === last ? first : `${first} to ${last}`;
    byId("made").textContent = `jobbox ${D.jobbox}, made ${D.made}`;
    document.title = "jobbox report: " + byId("period").textContent;
}

makeNotes();
if (!D.jobs) {
    byId("main").replaceChildren(el("p", { class: "empty", text: "No record passes: there is nothing to show." }));
    byId("filters").hidden = true;
} else {
    makeFilters();
    charts.push([card("time", "Core-hours over time", "", "wide"), drawTime],
        [card("eff", "CPU efficiency", "How many jobs used how much of the CPU time that they were granted."), drawEff],
        [card("waits", "Wait times", "From submission to the box."), drawWait],
        [card("ends", "End reasons", "How jobs ended."), drawReasons],
        [card("memory", "Memory granted and used", "Each point is a job; on the broken line it used all that it was granted.", "half"), drawMemory],
        [card("busy", "Busy cores by hour", "Cores that boxes held, on average, by day and hour of the day.", "half"), drawBusy]);
    show();
    let width = innerWidth;
    addEventListener("resize", () => {
        if (innerWidth !== width) {
            width = innerWidth;
            show();
        }
    });
}
document.documentElement.dataset.ready = "yes";
})();
