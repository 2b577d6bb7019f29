// The theme: that of the system until someone chooses another.
const button = document.getElementById("theme");
const themes = ["automatic", "light", "dark"];
let at = 0;
button.hidden = false;
button.addEventListener("click", () => {
  at = (at + 1) % themes.length;
  document.documentElement.dataset.theme = themes[at];
  button.textContent = "Theme: " + themes[at];
});
