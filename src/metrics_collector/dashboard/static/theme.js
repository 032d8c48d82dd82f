// Loaded before anything is shown, so that a page never flashes in the other theme.
const chosen = localStorage.getItem("metrics-collector-theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
