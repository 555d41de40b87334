// One task at a time. Keys: a digit chooses, arrows move through a long list, Enter takes the marked line, Backspace
// goes back (outside the search field). What is typed into the search field narrows the list.
function render({ model, el }) {
  const page = document.createElement("div");
  page.className = "rating-page";
  page.tabIndex = 0;
  el.appendChild(page);
  let marked = 0;
  let search = "";

  const task = () => model.get("task");
  const send = (content) => model.send({ ...content, task: task().fingerprint });

  function shown() {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    return (task().options || [])
      .map((text, index) => ({ text, index }))
      .filter(({ text }) => words.every((word) => text.toLowerCase().includes(word)));
  }

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function drawOptions(list) {
    const options = shown();
    marked = Math.max(0, Math.min(marked, options.length - 1));
    list.replaceChildren();
    const few = task().options.length <= 9;
    options.forEach(({ text, index }, row) => {
      const button = element("button", "option" + (!few && row === marked ? " marked" : ""));
      if (few) button.appendChild(element("kbd", "", String(index + 1)));
      if (text !== String(index + 1)) button.appendChild(element("span", "", text)); // a scale is its keys
      button.onclick = () => send({ option: index });
      list.appendChild(button);
      if (!few && row === marked) setTimeout(() => button.scrollIntoView({ block: "nearest" }));
    });
    if (!options.length) list.appendChild(element("p", "hint", "no description holds these words"));
  }

  function draw() {
    const now = task();
    page.replaceChildren();
    const bar = element("progress");
    bar.max = now.total;
    bar.value = now.position;
    page.append(bar, element("span", "count", `${now.position} of ${now.total} answered, rater ${now.rater}`));
    // Beside a search field Backspace erases what was typed.
    const back = element("button", "back", now.options.length > 9 ? "back" : "back (Backspace)");
    back.onclick = () => send({ back: true });
    if (now.done) {
      page.append(element("p", "question", "All answered. Thank you."), back);
      page.focus();
      return;
    }
    if (model.get("video").byteLength) {
      const video = element("video");
      video.src = URL.createObjectURL(new Blob([model.get("video")], { type: "video/mp4" }));
      Object.assign(video, { autoplay: true, loop: true, muted: true, controls: true });
      page.appendChild(video);
    }
    if (now.text) page.appendChild(element("p", "text", now.text));
    if (!now.options.length) {
      const skip = element("button", "skip", "skip");
      skip.onclick = () => send({ skip: true });
      page.append(skip, back);
      return;
    }
    page.appendChild(element("p", "question", now.question));
    const list = element("div", now.options.length <= 9 ? "options few" : "options");
    if (now.options.length > 9) {
      const field = element("input");
      field.placeholder = "type words to narrow the list";
      field.oninput = () => {
        search = field.value;
        marked = 0;
        drawOptions(list);
      };
      page.appendChild(field);
      setTimeout(() => field.focus());
    } else {
      setTimeout(() => page.focus());
    }
    drawOptions(list);
    page.append(list, back);
  }

  page.onkeydown = (event) => {
    const now = task();
    // A held key, a shortcut of the browser and a button in focus are not answers.
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" && event.target.tagName === "BUTTON") return;
    const few = now.options.length <= 9;
    if (event.key === "Backspace" && event.target.tagName !== "INPUT") send({ back: true });
    else if (now.done || !now.options.length) return;
    else if (few && /^[1-9]$/.test(event.key) && Number(event.key) <= now.options.length)
      send({ option: Number(event.key) - 1 });
    else if (!few && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      marked += event.key === "ArrowDown" ? 1 : -1;
      drawOptions(page.querySelector(".options"));
    } else if (!few && event.key === "Enter") {
      const row = shown()[marked];
      if (row) send({ option: row.index });
    } else return;
    event.preventDefault();
    event.stopPropagation(); // Jupyter has its own meaning for most keys
  };

  const next = () => {
    marked = 0;
    search = "";
    draw();
  };
  model.on("change:task", next);
  draw();
  return () => model.off("change:task", next);
}
export default { render };
