const button = document.querySelector("nav button");
button.addEventListener("click", () => {
  const shown = document.body.classList.toggle("code");
  button.textContent = shown ? "hide code" : "show code";
});

// A link into a folded section opens it, and a printed page has every section open.
const open = (section) => (section.open = true);
function follow() {
  for (const section of document.querySelectorAll("details")) {
    if (section.querySelector(":target")) open(section);
  }
  document.querySelector(":target")?.scrollIntoView();
}
addEventListener("hashchange", follow);
addEventListener("load", follow);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(open));
