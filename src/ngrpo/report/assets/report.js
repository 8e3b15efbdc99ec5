"use strict";
// Draws the charts, and the browser of rollouts. Text of models enters the page through textContent alone.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined && text !== null) element.textContent = text;
    return element;
  };

  // Charts: SVG, whose colours are the style sheet's variables; expressions are interpreted, for the policy forbids code from text.
  const charts = read("charts").charts;
  const legendless = (spec) => ({ ...spec, config: { ...spec.config, legend: { disable: true } } });
  const drawn = [...document.querySelectorAll("[data-chart]")].map(async (element) => {
    const spec = charts[element.dataset.chart];
    await window.ngrpoDraw(element, legendless(spec), { ast: true, renderer: "svg", actions: false });
  });
  Promise.allSettled(drawn).then((all) => {
    for (const one of all) if (one.status === "rejected") console.error(one.reason);
    document.documentElement.dataset.charts = String(all.filter((one) => one.status === "fulfilled").length);
  });

  // Rollouts: a group is [run, step, problem, kind, prompt, reference, table, completions], see rollout_sample.py.
  const data = read("rollout-data").rollouts;
  const KINDS = {
    different: "all-wrong, different answers", some: "all-wrong, repeated answers", same: "all-wrong, one answer", mixed: "mixed", all_correct: "all-correct", ungraded: "ungraded",
  };
  const STATUSES = { correct: ["correct", "●"], wrong: ["wrong", "○"], no_answer: ["no answer", "–"], ungraded: ["ungraded", "?"] };
  const AT_ONCE = 40;

  const signed = (value) => (value === null || value === undefined ? "—" : (value > 0 ? "+" : "") + String(value).replace("-", "−"));

  function methodTable(group) {
    const [run, , , , , , place, completions] = group;
    const [rewards, rows] = data.tables[place];
    const table = make("table", "methods");
    const head = table.createTHead().insertRow();
    head.append(make("th", "", "method"));
    completions.forEach((_, at) => head.append(make("th", "number", "#" + at)));
    const body = table.createTBody();
    data.methods.forEach((name, at) => {
      const row = body.insertRow();
      const title = make("th", "", name + (data.notes[name] ? " *" : ""));
      title.scope = "row";
      if (data.notes[name]) title.title = data.notes[name];
      row.append(title);
      if (name === data.own[run]) row.className = "own";
      const advantages = rows[at];
      const largest = advantages ? Math.max(...advantages.map(Math.abs), 1e-9) : 1;
      for (const completion of completions) {
        const value = advantages ? advantages[rewards.indexOf(completion[2])] : null;
        const cell = make("td", "number", signed(value === null ? null : Number(value.toPrecision(3))));
        if (value) {
          cell.classList.add(value > 0 ? "up" : "down");
          cell.style.setProperty("--tint", Math.round(8 + 32 * Math.abs(value) / largest) + "%");
        }
        row.append(cell);
      }
    });
    const scroll = make("div", "scroll");
    scroll.append(table);
    return scroll;
  }

  function opened(group) {
    const [run, , , , prompt, reference, , completions] = group;
    const box = make("div", "opened");
    box.append(make("h4", "", "Prompt"));
    box.append(prompt === null ? make("p", "note", "Not logged.") : make("pre", "text", prompt));
    if (reference !== null) {
      box.append(make("h4", "", "Reference"), make("pre", "text", reference));
    }
    box.append(make("h4", "", completions.length + " completions"));
    completions.forEach(([text, status, reward, advantage, tokens, answer, finish], at) => {
      const one = make("div", "completion");
      const facts = make("p", "facts");
      facts.append(make("b", "", "#" + at + " " + STATUSES[status][1] + " " + STATUSES[status][0]));
      facts.append(make("span", "", "reward " + (reward === null ? "—" : reward)));
      facts.append(make("span", "", "advantage " + signed(advantage)));
      if (tokens !== null) facts.append(make("span", "", tokens + " tokens" + (finish === "length" ? ", cut" : "")));
      if (answer !== null) facts.append(make("span", "", "answer: " + answer));
      one.append(facts, make("pre", "text", text));
      box.append(one);
    });
    box.append(make("h4", "", "Advantages of these completions under each method"), methodTable(group));
    const notes = Object.entries(data.notes).map(([name, note]) => name + ": " + note);
    box.append(make("p", "note", "Each method with its defaults and this run's max_reward; " + data.own[run] +
      " with the run's settings. 0: no gradient, also where the method's filter drops the group. * " + notes.join("; ") + "."));
    return box;
  }

  function line(group) {
    const [run, step, problem, kind, prompt, , , completions] = group;
    const item = make("li");
    const button = make("button", "group");
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    const name = make("span", "problem", problem);
    if (prompt) name.append(make("span", "", prompt.slice(-80)));
    const strip = make("span", "strip", completions.map((one) => STATUSES[one[1]][1]).join(""));
    strip.title = "● correct  ○ wrong  – no answer  ? ungraded";
    const where = data.runs.length > 1 ? KINDS[kind] + " · " + data.runs[run] : KINDS[kind];
    button.append(make("span", "", "step " + step), name, make("span", "kind", where), strip);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!shown));
      if (shown) item.lastChild.remove();
      else item.append(opened(group));
    });
    item.append(button);
    return item;
  }

  function stepsOf(text) {
    const match = /^\s*(\d+)\s*(?:[-–]\s*(\d+))?\s*$/.exec(text);
    return match ? [Number(match[1]), Number(match[2] ?? match[1])] : [-Infinity, Infinity];
  }

  function browse() {
    const form = document.getElementById("filters");
    const list = document.getElementById("rollout-groups");
    const more = document.getElementById("more");
    const options = (select, entries) => entries.forEach(([value, text]) => select.append(new Option(text, value)));
    options(form.elements.run, data.runs.map((name, at) => [at, name]));
    options(form.elements.kind, Object.entries(KINDS));
    options(form.elements.status, Object.entries(STATUSES).map(([value, [text]]) => [value, text]));
    form.elements.run.parentElement.hidden = data.runs.length < 2;
    let found = [];
    let shown = 0;
    const next = () => {
      list.append(...found.slice(shown, shown + AT_ONCE).map(line));
      shown = Math.min(found.length, shown + AT_ONCE);
      more.hidden = shown >= found.length;
    };
    const filter = () => {
      const { run, kind, status, step, text } = Object.fromEntries(new FormData(form));
      const [first, last] = stepsOf(step);
      const wanted = text.toLowerCase();
      const holds = (value) => value !== null && value.toLowerCase().includes(wanted);
      found = data.groups.filter((group) =>
        (run === "" || group[0] === Number(run)) && group[1] >= first && group[1] <= last && (kind === "" || group[3] === kind) &&
        (status === "" || group[7].some((one) => one[1] === status)) &&
        (wanted === "" || holds(group[2]) || holds(group[4]) || group[7].some((one) => holds(one[5]))));
      list.replaceChildren();
      shown = 0;
      next();
      document.getElementById("matches").textContent = found.length.toLocaleString("en") + " of " + data.groups.length.toLocaleString("en") +
        " groups. ● correct, ○ wrong, – no answer, ? ungraded; choose a group to open it.";
    };
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    more.addEventListener("click", next);
    filter();
  }
  if (data) browse();

  // --live: ask the server that gave this page whether the run has moved on; reload unless somebody is reading a group.
  const live = document.querySelector("meta[name=ngrpo-live]");
  if (live) {
    const ask = async () => {
      try {
        const answer = await fetch("version", { cache: "no-store" });
        if (answer.ok && (await answer.text()) !== live.dataset.version) {
          const reading = document.querySelector(".opened") || document.activeElement.closest("form");
          if (!reading) return location.reload();
          if (!document.getElementById("news")) {
            const news = make("button", "", "The run has moved on: reload");
            news.id = "news";
            news.addEventListener("click", () => location.reload());
            document.body.append(news);
          }
        }
      } catch { /* The server was stopped: the page stays as it is. */ }
      setTimeout(ask, 1000 * Number(live.content));
    };
    setTimeout(ask, 1000 * Number(live.content));
  }
})();
