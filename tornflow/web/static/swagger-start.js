// Kept out of the page so that the page can forbid inline scripts. The page says where the document is, seen from it.
window.addEventListener("load", () => {
  window.ui = SwaggerUIBundle({
    url: document.getElementById("swagger").dataset.document,
    dom_id: "#swagger",
    deepLinking: true,
    docExpansion: "list",
    validatorUrl: null,
  });
});
