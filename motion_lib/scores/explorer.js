// What a person asks and what the model answers. In a notebook the kernel answers any sentence; a page of its own holds
// the answers to the sentences that it knows. Keys: "/" goes to the search field, arrows move through what it lists and
// through the clips, Enter chooses, Escape empties the field.
const SUGGESTED = 8;

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function render({ model, el }) {
  const about = model.get("about");
  const clips = new Map(about.clips.map((clip) => [clip.number, clip]));
  const strips = {};
  let kind = Object.keys(about.kinds)[0];
  let clip = null;

  // ---------------------------------------------------------------- the page, drawn once
  const page = element("section", "explorer");
  const head = element("header");
  const field = element("input");
  field.type = "search";
  field.placeholder = about.any ? "a sentence, then Enter" : "words of a description";
  field.setAttribute("aria-label", "Sentence");
  const suggestions = element("ul", "suggestions");
  const chooser = element("select");
  chooser.setAttribute("aria-label", "Clip");
  const said = element("p", "said");
  said.setAttribute("aria-live", "polite");
  const grid = element("div", "grid");
  const right = element("div", "side");
  const left = element("div", "side");
  const pause = element("button", "plain", "pause");
  pause.onclick = () => {
    pause.textContent = page.classList.toggle("still") ? "play" : "pause";
  };
  const limited = about.of && about.of > about.clips.length ? ` of ${about.of}` : "";
  head.append(element("h1", "", about.title), element("span", "note", `${about.clips.length}${limited} clips`), pause);
  left.append(element("h2", "", "Which clips fit a sentence?"), field, suggestions, said, grid);
  page.append(head, left, right);
  el.appendChild(page);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) pause.click();

  const classes = new Map();
  about.clips.forEach((each) => classes.set(each.class, [...(classes.get(each.class) || []), each]));
  chooser.append(new Option("choose one of all clips", ""));
  [...classes.keys()].sort().forEach((name) => {
    const group = element("optgroup");
    group.label = name;
    group.append(...classes.get(name).map((each) => new Option(each.name, String(each.number))));
    chooser.append(group);
  });

  function film(number, className) {
    const made = element("span", `film ${className || ""}`);
    if (strips[number]) made.style.backgroundImage = `url("${strips[number]}")`;
    made.style.setProperty("--frames", about.frames);
    if (about.frames > 1) made.classList.add("moving");
    return made;
  }

  // ---------------------------------------------------------------- sentences
  function known() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const held = (text) => words.filter((word) => text.toLowerCase().includes(word)).length;
    const found = about.sentences.map((text) => ({ text, held: held(text) }));
    const most = Math.max(...found.map((each) => each.held));
    if (words.length && !most) return [];
    return found.filter((each) => each.held === most).slice(0, SUGGESTED).map((each) => each.text);
  }

  function search(sentence) {
    said.textContent = "…";
    model.send({ sentence });
  }

  function suggest() {
    suggestions.replaceChildren(
      ...known().map((text) => {
        const button = element("button", "suggestion", text);
        button.onclick = () => search(text);
        const item = element("li");
        item.append(button);
        return item;
      }),
    );
    if (!suggestions.children.length) suggestions.append(element("li", "note", "no description holds these words"));
  }

  field.oninput = suggest;
  field.onkeydown = (event) => {
    if (event.key === "Escape") {
      field.value = "";
      suggest();
    } else if (event.key === "Enter" && field.value.trim()) {
      const sentence = about.any ? field.value.trim() : known()[0];
      if (sentence) search(sentence);
    } else if (event.key === "ArrowDown") {
      suggestions.querySelector("button")?.focus();
      event.preventDefault();
    }
  };

  // Arrows move the focus among the buttons of a list; in a grid, up and down by a row.
  function arrows(box, wide) {
    box.onkeydown = (event) => {
      const row = wide ? getComputedStyle(box).gridTemplateColumns.split(" ").length : 1;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row }[event.key];
      if (!step) return;
      const buttons = [...box.querySelectorAll("button")];
      const next = buttons.indexOf(document.activeElement) + step;
      (buttons[next] || (next < 0 ? field : document.activeElement)).focus();
      event.preventDefault();
    };
  }
  arrows(suggestions, false);
  arrows(grid, true);
  // On a page of its own from anywhere; in a notebook from here, which has keys of its own.
  (about.any ? page : document).addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement !== field) {
      field.focus();
      event.preventDefault();
    }
  });

  // ---------------------------------------------------------------- clips
  function choose(number) {
    clip = number;
    model.send({ clip, kind });
  }
  chooser.onchange = () => chooser.value && choose(Number(chooser.value));

  function drawBest(sentence, best) {
    said.textContent = best.length ? `“${sentence}”` : "this page does not know that sentence";
    grid.replaceChildren(
      ...best.map(([number, logit]) => {
        const button = element("button", "clip");
        const name = clips.get(number).class;
        button.append(film(number), element("span", "logit", logit.toFixed(1)), element("span", "class", name));
        button.setAttribute("aria-label", `${name}, logit ${logit.toFixed(1)}`);
        button.onclick = () => choose(number);
        return button;
      }),
    );
  }

  function sentenceOf(text, worth, most) {
    const line = element("p", "sentence");
    const words = text.split(/\s+/);
    words.forEach((word, place) => {
      const value = worth[place];
      const made = element("span", "word", word);
      made.title = `${value > 0 ? "+" : ""}${value.toFixed(2)}`;
      const bar = element("i", value > 0 ? "gain" : "loss");
      bar.style.width = `${Math.min(100, (100 * Math.abs(value)) / most)}%`;
      made.append(bar);
      line.append(made, " ");
    });
    line.setAttribute("aria-label", `${text} (${words.map((w, n) => `${w} ${worth[n] ?? ""}`).join(", ")})`);
    return line;
  }

  function drawTold(told) {
    const shown = clips.get(clip);
    const kinds = element("p", "kinds");
    Object.entries(about.kinds).forEach(([key, label]) => {
      const button = element("button", key === kind ? "plain on" : "plain", label);
      button.setAttribute("aria-pressed", String(key === kind));
      button.onclick = () => {
        kind = key;
        choose(clip);
      };
      kinds.append(button);
    });
    const most = Math.max(...told.flatMap((row) => row[4].map(Math.abs)), 1e-6);
    const list = element("ol");
    told.forEach(([name, text, share, isRight, worth]) => {
      const item = element("li", isRight ? "right" : "");
      const percent = element("span", "share", `${(100 * share).toFixed(0)} %`);
      item.append(percent, element("span", "name", `${isRight ? "✓ " : ""}${name}`), sentenceOf(text, worth, most));
      list.append(item);
    });
    const note = "Under each word: the logit that this clip loses when the word is left out; orange, that it gains.";
    right.replaceChildren(element("h2", "", "Which descriptions fit a clip?"), chooser, film(clip, "large"));
    right.append(element("p", "name", `${shown.class}: ${shown.name}`), kinds, list, element("p", "note", note));
    chooser.value = String(clip);
  }

  model.on("msg:custom", (answer) => {
    Object.assign(strips, answer.strips);
    if ("best" in answer) {
      drawBest(answer.sentence, answer.best);
      if (clip === null && answer.best.length) choose(answer.best[0][0]);
    } else if (answer.clip === clip && answer.kind === kind) {
      drawTold(answer.told);
    }
  });
  suggest();
  search(about.sentences[0]);
}

export default { render };
