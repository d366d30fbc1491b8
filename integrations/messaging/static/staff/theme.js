// As picked in the admin's console; before anything is drawn. Without a choice the system's own theme is followed by the style sheet.
(function () {
  try {
    var theme = JSON.parse(window.localStorage.getItem("adminTheme"));
    if (theme === "dark" || theme === "light") document.documentElement.classList.add(theme);
  } catch (error) { /* no storage, no choice */ }
  document.documentElement.classList.add("script");
})();
